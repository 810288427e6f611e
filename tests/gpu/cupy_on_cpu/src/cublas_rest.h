// What CuPy links against and nothing here calls: each says so and returns CUBLAS_STATUS_NOT_SUPPORTED.
#define NOT_MODELLED(name)                                              \
    int name() {                                                         \
        fprintf(stderr, "cuBLAS on the CPU: " #name " is not modelled\n"); \
        return NOT_SUPPORTED;                                            \
    }
NOT_MODELLED(cublasCaxpy_v2) NOT_MODELLED(cublasCdgmm) NOT_MODELLED(cublasCdotc_v2) NOT_MODELLED(cublasCdotu_v2)
NOT_MODELLED(cublasCgeam) NOT_MODELLED(cublasCgemmBatched) NOT_MODELLED(cublasCgemmStridedBatched)
NOT_MODELLED(cublasCgemm_v2) NOT_MODELLED(cublasCgemv_v2) NOT_MODELLED(cublasCgerc_v2) NOT_MODELLED(cublasCgeru_v2)
NOT_MODELLED(cublasCgetrfBatched) NOT_MODELLED(cublasCgetriBatched) NOT_MODELLED(cublasCgetrsBatched)
NOT_MODELLED(cublasCscal_v2) NOT_MODELLED(cublasCsscal_v2) NOT_MODELLED(cublasCsyrk_v2)
NOT_MODELLED(cublasCtrsmBatched) NOT_MODELLED(cublasCtrsm_v2) NOT_MODELLED(cublasDasum_v2)
NOT_MODELLED(cublasDaxpy_v2) NOT_MODELLED(cublasDdgmm) NOT_MODELLED(cublasDgeam) NOT_MODELLED(cublasDgetrfBatched)
NOT_MODELLED(cublasDgetriBatched) NOT_MODELLED(cublasDgetrsBatched) NOT_MODELLED(cublasDsbmv_v2)
NOT_MODELLED(cublasDscal_v2) NOT_MODELLED(cublasDsyrk_v2) NOT_MODELLED(cublasDtpttr) NOT_MODELLED(cublasDtrsmBatched)
NOT_MODELLED(cublasDtrsm_v2) NOT_MODELLED(cublasDtrttp) NOT_MODELLED(cublasDzasum_v2) NOT_MODELLED(cublasDznrm2_v2)
NOT_MODELLED(cublasIcamax_v2) NOT_MODELLED(cublasIcamin_v2) NOT_MODELLED(cublasIdamax_v2)
NOT_MODELLED(cublasIdamin_v2) NOT_MODELLED(cublasIsamax_v2) NOT_MODELLED(cublasIsamin_v2)
NOT_MODELLED(cublasIzamax_v2) NOT_MODELLED(cublasIzamin_v2) NOT_MODELLED(cublasSasum_v2) NOT_MODELLED(cublasSaxpy_v2)
NOT_MODELLED(cublasScasum_v2) NOT_MODELLED(cublasScnrm2_v2) NOT_MODELLED(cublasSdgmm) NOT_MODELLED(cublasSgeam)
NOT_MODELLED(cublasSgetrfBatched) NOT_MODELLED(cublasSgetriBatched) NOT_MODELLED(cublasSgetrsBatched)
NOT_MODELLED(cublasSsbmv_v2) NOT_MODELLED(cublasSscal_v2) NOT_MODELLED(cublasSsyrk_v2) NOT_MODELLED(cublasStpttr)
NOT_MODELLED(cublasStrsmBatched) NOT_MODELLED(cublasStrsm_v2) NOT_MODELLED(cublasStrttp) NOT_MODELLED(cublasZaxpy_v2)
NOT_MODELLED(cublasZdgmm) NOT_MODELLED(cublasZdotc_v2) NOT_MODELLED(cublasZdotu_v2) NOT_MODELLED(cublasZdscal_v2)
NOT_MODELLED(cublasZgeam) NOT_MODELLED(cublasZgemmBatched) NOT_MODELLED(cublasZgemmStridedBatched)
NOT_MODELLED(cublasZgemm_v2) NOT_MODELLED(cublasZgemv_v2) NOT_MODELLED(cublasZgerc_v2) NOT_MODELLED(cublasZgeru_v2)
NOT_MODELLED(cublasZgetrfBatched) NOT_MODELLED(cublasZgetriBatched) NOT_MODELLED(cublasZgetrsBatched)
NOT_MODELLED(cublasZscal_v2) NOT_MODELLED(cublasZsyrk_v2) NOT_MODELLED(cublasZtrsmBatched)
NOT_MODELLED(cublasZtrsm_v2)

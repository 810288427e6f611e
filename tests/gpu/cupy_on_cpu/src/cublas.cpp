// libcublas.so.13: the part of cuBLAS's public interface that CuPy's dot, matmul, tensordot and einsum call, in loops.
// Matrices are column-major, as in BLAS: element (i, j) of a matrix with leading dimension ld is a[i + j·ld].
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "half.h"

enum Type { REAL_32 = 0, REAL_64 = 1, REAL_16 = 2, BFLOAT_16 = 14 };  // of cudaDataType
enum Status { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Operation { AS_IS = 0 };  // others: transposed

static long calls;

// How the arguments of a product are refused by cuBLAS itself.
static int checked(bool a_transposed, bool b_transposed, int m, int n, int k, long lda, long ldb, long ldc) {
    auto fits = [](long ld, long rows) { return ld >= (rows > 1 ? rows : 1); };
    bool right = m >= 0 && n >= 0 && k >= 0 && fits(lda, a_transposed ? k : m) && fits(ldb, b_transposed ? n : k) && fits(ldc, m);
    return right ? SUCCESS : INVALID_VALUE;
}

// C ← α op(A) op(B) + β C, with op(A) (m, k) and op(B) (k, n).
template <class V>
static void product(bool a_transposed, bool b_transposed, int m, int n, int k, V alpha, const V* a, long lda, const V* b,
                    long ldb, V beta, V* c, long ldc) {
    std::vector<V> rows(size_t(m) * k), columns(size_t(k) * n);  // so that the inner loop runs along memory
    for (int i = 0; i < m; i++)
        for (int p = 0; p < k; p++) rows[size_t(i) * k + p] = a_transposed ? a[p + i * lda] : a[i + p * lda];
    for (int j = 0; j < n; j++)
        for (int p = 0; p < k; p++) columns[size_t(j) * k + p] = b_transposed ? b[j + p * ldb] : b[p + j * ldb];
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            const V *x = &rows[size_t(i) * k], *y = &columns[size_t(j) * k];
            V sum = 0;
            for (int p = 0; p < k; p++) sum += x[p] * y[p];
            V& out = c[i + j * ldc];
            out = beta == V(0) ? alpha * sum : alpha * sum + beta * out;  // β = 0: C may hold NaN
        }
    }
}

static std::vector<float> widened(const void* values, int type, size_t rows, size_t columns, size_t ld) {
    std::vector<float> wide(ld * columns);
    for (size_t j = 0; j < columns; j++) {
        for (size_t i = 0; i < rows; i++) {
            uint16_t bits = static_cast<const uint16_t*>(values)[i + j * ld];
            uint32_t word = uint32_t(bits) << 16;
            float value = half_to_float(bits);
            if (type == BFLOAT_16) memcpy(&value, &word, sizeof value);
            wide[i + j * ld] = value;
        }
    }
    return wide;
}

// Half precision is multiplied and added up in float32; α and β are float32 then.
static int product_of_halves(bool ta, bool tb, int m, int n, int k, float alpha, const void* a, int type, long lda,
                             const void* b, long ldb, float beta, void* c, int c_type, long ldc) {
    if (beta != 0 || (c_type != REAL_16 && c_type != REAL_32)) return NOT_SUPPORTED;
    auto wide_a = widened(a, type, ta ? k : m, ta ? m : k, lda), wide_b = widened(b, type, tb ? n : k, tb ? k : n, ldb);
    std::vector<float> out(size_t(m) * n);
    product<float>(ta, tb, m, n, k, alpha, wide_a.data(), lda, wide_b.data(), ldb, 0, out.data(), m);
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            float value = out[i + size_t(j) * m];
            if (c_type == REAL_32) static_cast<float*>(c)[i + j * ldc] = value;
            else static_cast<uint16_t*>(c)[i + j * ldc] = float_to_half(value);
        }
    }
    return SUCCESS;
}

static int product_of_any(int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int a_type,
                          long lda, const void* b, int b_type, long ldb, const void* beta, void* c, int c_type,
                          long ldc) {
    bool ta = op_a != AS_IS, tb = op_b != AS_IS;
    if (int wrong = checked(ta, tb, m, n, k, lda, ldb, ldc)) return wrong;
    if (a_type != b_type) return NOT_SUPPORTED;
    auto as_float = [](const void* p) { return static_cast<const float*>(p); };
    auto as_double = [](const void* p) { return static_cast<const double*>(p); };
    switch (a_type) {
        case REAL_64:
            if (c_type != REAL_64) return NOT_SUPPORTED;
            product<double>(ta, tb, m, n, k, *as_double(alpha), as_double(a), lda, as_double(b), ldb, *as_double(beta),
                            static_cast<double*>(c), ldc);
            return SUCCESS;
        case REAL_32:
            if (c_type != REAL_32) return NOT_SUPPORTED;
            product<float>(ta, tb, m, n, k, *as_float(alpha), as_float(a), lda, as_float(b), ldb, *as_float(beta),
                           static_cast<float*>(c), ldc);
            return SUCCESS;
        case REAL_16:
        case BFLOAT_16:
            return product_of_halves(ta, tb, m, n, k, *as_float(alpha), a, a_type, lda, b, ldb, *as_float(beta), c,
                                     c_type, ldc);
        default: return NOT_SUPPORTED;
    }
}

static size_t bytes_of(int type) { return type == REAL_64 ? 8 : type == REAL_32 ? 4 : 2; }

typedef void* Handle;
typedef long long Long;

extern "C" {
static int pointer_mode;

long cublasCallsOnCpu() { return calls; }
int cublasCreate_v2(Handle* handle) { return *handle = reinterpret_cast<Handle>(1), SUCCESS; }
int cublasDestroy_v2(Handle) { return SUCCESS; }
int cublasSetStream_v2(Handle, void*) { return SUCCESS; }
int cublasGetStream_v2(Handle, void** stream) { return *stream = nullptr, SUCCESS; }
int cublasGetVersion_v2(Handle, int* version) { return *version = 130000, SUCCESS; }
int cublasSetMathMode(Handle, int) { return SUCCESS; }
int cublasGetMathMode(Handle, int* mode) { return *mode = 0, SUCCESS; }
int cublasSetPointerMode_v2(Handle, int mode) { return pointer_mode = mode, SUCCESS; }
int cublasGetPointerMode_v2(Handle, int* mode) { return *mode = pointer_mode, SUCCESS; }

int cublasGemmStridedBatchedEx(Handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type,
                               int lda, Long a_step, const void* b, int b_type, int ldb, Long b_step, const void* beta,
                               void* c, int c_type, int ldc, Long c_step, int count, int, int) {
    calls++;
    for (int i = 0; i < count; i++) {
        const char* a_i = static_cast<const char*>(a) + i * a_step * Long(bytes_of(a_type));
        const char* b_i = static_cast<const char*>(b) + i * b_step * Long(bytes_of(b_type));
        char* c_i = static_cast<char*>(c) + i * c_step * Long(bytes_of(c_type));
        if (int wrong = product_of_any(ta, tb, m, n, k, alpha, a_i, a_type, lda, b_i, b_type, ldb, beta, c_i, c_type, ldc))
            return wrong;
    }
    return SUCCESS;
}

int cublasGemmEx(Handle handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type, int lda,
                 const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc, int, int) {
    return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c,
                                      c_type, ldc, 0, 1, 0, 0);
}

int cublasSgemmEx(Handle handle, int ta, int tb, int m, int n, int k, const float* alpha, const void* a, int a_type,
                  int lda, const void* b, int b_type, int ldb, const float* beta, void* c, int c_type, int ldc) {
    return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, 0, 0);
}

// The functions of one letter, S for float and D for double.
#define OF_TYPE(S, V, TYPE)                                                                                             \
    int cublas##S##gemm_v2(Handle handle, int ta, int tb, int m, int n, int k, const V* alpha, const V* a, int lda,     \
                           const V* b, int ldb, const V* beta, V* c, int ldc) {                                         \
        return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, TYPE, lda, b, TYPE, ldb, beta, c, TYPE, ldc, 0, 0);      \
    }                                                                                                                   \
    int cublas##S##gemmStridedBatched(Handle handle, int ta, int tb, int m, int n, int k, const V* alpha, const V* a,   \
                                      int lda, Long a_step, const V* b, int ldb, Long b_step, const V* beta, V* c,      \
                                      int ldc, Long c_step, int count) {                                                \
        return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, TYPE, lda, a_step, b, TYPE, ldb, b_step,   \
                                          beta, c, TYPE, ldc, c_step, count, 0, 0);                                     \
    }                                                                                                                   \
    int cublas##S##gemmBatched(Handle, int ta, int tb, int m, int n, int k, const V* alpha, const V* const* a, int lda, \
                               const V* const* b, int ldb, const V* beta, V* const* c, int ldc, int count) {            \
        calls++;                                                                                                        \
        for (int i = 0; i < count; i++)                                                                                 \
            if (int wrong = product_of_any(ta, tb, m, n, k, alpha, a[i], TYPE, lda, b[i], TYPE, ldb, beta, c[i], TYPE, ldc)) \
                return wrong;                                                                                           \
        return SUCCESS;                                                                                                 \
    }                                                                                                                   \
    int cublas##S##gemv_v2(Handle, int op, int m, int n, const V* alpha, const V* a, int lda, const V* x, int x_step,   \
                           const V* beta, V* y, int y_step) {                                                           \
        calls++;                                                                                                        \
        int rows = op == AS_IS ? m : n, columns = op == AS_IS ? n : m;                                                  \
        for (int i = 0; i < rows; i++) {                                                                                \
            V sum = 0, &out = y[long(i) * y_step];                                                                      \
            for (int j = 0; j < columns; j++)                                                                           \
                sum += (op == AS_IS ? a[i + long(j) * lda] : a[j + long(i) * lda]) * x[long(j) * x_step];               \
            out = *beta == 0 ? *alpha * sum : *alpha * sum + *beta * out;                                               \
        }                                                                                                               \
        return SUCCESS;                                                                                                 \
    }                                                                                                                   \
    int cublas##S##ger_v2(Handle, int m, int n, const V* alpha, const V* x, int x_step, const V* y, int y_step, V* a,   \
                          int lda) {                                                                                    \
        calls++;                                                                                                        \
        for (int j = 0; j < n; j++)                                                                                     \
            for (int i = 0; i < m; i++) a[i + long(j) * lda] += *alpha * x[long(i) * x_step] * y[long(j) * y_step];     \
        return SUCCESS;                                                                                                 \
    }                                                                                                                   \
    int cublas##S##dot_v2(Handle, int n, const V* x, int x_step, const V* y, int y_step, V* out) {                      \
        calls++;                                                                                                        \
        V sum = 0;                                                                                                      \
        for (int i = 0; i < n; i++) sum += x[long(i) * x_step] * y[long(i) * y_step];                                   \
        return *out = sum, SUCCESS;                                                                                     \
    }                                                                                                                   \
    int cublas##S##nrm2_v2(Handle, int n, const V* x, int x_step, V* out) {                                             \
        calls++;                                                                                                        \
        V sum = 0;                                                                                                      \
        for (int i = 0; i < n; i++) sum += x[long(i) * x_step] * x[long(i) * x_step];                                   \
        return *out = std::sqrt(sum), SUCCESS;                                                                          \
    }
OF_TYPE(S, float, REAL_32)
OF_TYPE(D, double, REAL_64)

#include "cublas_rest.h"
}

"""The fast form for NumPy: fixed blocks on threads, one BLAS thread each, buffers reused."""

"""The real CuPy, computing on the CPU: see README.md.  `python -m tests.gpu.cupy_on_cpu` says what is needed and where.

Its import replaces entry points of CuPy, so it belongs into a process of its own: `install()` there, before CuPy.

build       g++, its cache, CUDA C++ made C++         install    which places of CuPy are replaced
arguments   of kernels, checked                       delegate   tests that run in such a process, reported in pytest's
src/        kernel.h runs kernels; device.cpp stands in for CUDA, cublas.cpp for cuBLAS
"""

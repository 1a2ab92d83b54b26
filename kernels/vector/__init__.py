"""Compiling and vector code: the door to Numba, LLVM intrinsics, rows and memory. Knows nothing of speech."""

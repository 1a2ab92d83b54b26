"""Log-mel features: filterbanks, the compiled CPU code, the CUDA kernels and their caller."""

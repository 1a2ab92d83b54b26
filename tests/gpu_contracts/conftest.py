"""Contracts of the GPU code, checked without a GPU; run by tools/test-gpu-contracts, which brings the heavy wheels."""

from __future__ import annotations

import os

# The ordinary suite has neither the CUDA wheels nor the preloaded runtime; all it can do is to run the kernels' source
# on the host (test_kernels_host.py), which needs a C++ compiler alone.
collect_ignore_glob = [] if os.environ.get("TDT_GPU_CONTRACTS") else ["test_[!k]*.py", "test_kernels_nvrtc.py"]

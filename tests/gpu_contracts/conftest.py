"""Contracts of the GPU code, checked without a GPU; run by tools/test-gpu-contracts, which brings the heavy wheels."""

from __future__ import annotations

import os

# The ordinary suite has neither the CUDA wheels nor the preloaded runtime: nothing here is collected then.
collect_ignore_glob = [] if os.environ.get("TDT_GPU_CONTRACTS") else ["test_*.py"]

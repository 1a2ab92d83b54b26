"""Numbers that compiled kernels and graphs made at load share."""

from __future__ import annotations

# Order of the Tsallis entropy in NeMo's default token confidence (asr_confidence_utils.py).
ALPHA = 0.33

"""Any source of sound (path, bytes, file object, array, pipe) becomes mono 16 kHz samples, whole or in blocks.

Knows containers, channels and rates. Knows nothing of models.
"""

"""Array kernels: features, the transducer decoding rule, the native decoder, CUDA sources.

Everything here takes arrays and scalars and knows no model, file or session; nothing here imports `tdt`.
Modules compile through :mod:`.jit`; CuPy is imported only by functions that are handed a CuPy array.
"""

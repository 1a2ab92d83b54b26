"""ONNX Runtime and the card: sessions, providers, streams and device memory.

The only wing that imports onnxruntime. Knows graphs as files to open. Knows nothing of what they compute.
"""

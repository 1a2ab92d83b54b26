"""An ONNX file as it lies on disk: its graph, ports, operators and where its weights are, the weights unread.

Knows bytes, protobuf and paths. Knows nothing of speech, of models made of several graphs, or of ONNX Runtime.
"""

"""TensorRT-RTX engines built ahead of time, on any machine."""

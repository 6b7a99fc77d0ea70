"""TensorRT and TensorRT-RTX: built and run in a process of their own, which a driver may crash."""

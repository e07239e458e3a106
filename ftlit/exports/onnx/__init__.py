"""Exports that ONNX Runtime runs without PyTorch."""

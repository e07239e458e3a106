"""Graphs of ONNX that write texts token by token, with a cache of keys and values."""

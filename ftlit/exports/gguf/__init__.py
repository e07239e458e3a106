"""Exports of language models as single files in GGUF, the format of llama.cpp."""

"""Pretrained models: loading, embeddings, generation and masking."""

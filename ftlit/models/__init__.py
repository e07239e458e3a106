"""Pretrained models: loading, embeddings, generation, masking."""

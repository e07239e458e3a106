"""Exports as programs of torch.export, which PyTorch runs without the code of the model."""

"""ftlit: fine-tune pretrained language models with PyTorch Lightning."""

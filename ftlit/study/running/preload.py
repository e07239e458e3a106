"""Imported once by the process from which all cells are forked, so that cells do not repeat imports and set-up."""

import io
from contextlib import suppress
from tempfile import TemporaryDirectory

from ftlit.util.startup import fast_imports

with fast_imports():
    import datasets
    import peft
    import torch
    import torchmetrics
    from matplotlib.figure import Figure
    from transformers import AutoModel, BertConfig

    import ftlit.commands.cli
    import ftlit.tuning
    from ftlit.training.flops import matmul_peak
    from ftlit.util.startup import quiet

__all__ = ["datasets", "ftlit", "peft", "torchmetrics"]


def warm_up() -> None:
    """Do what is slow the first time: plotting reads fonts, and loading a model compiles a thousand regular expressions."""
    Figure(layout="constrained").savefig(io.BytesIO())
    config = BertConfig(vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    with TemporaryDirectory() as folder:
        AutoModel.from_config(config).save_pretrained(folder)
        AutoModel.from_pretrained(folder)
    matmul_peak(torch.device("cpu"), torch.float32)  # before cells take up the processor


quiet()
torch.set_num_threads(1)  # threads do not survive a fork; each cell sets its own number
with suppress(OSError):  # the cells report a full disk
    warm_up()

"""Imported once by the process from which all cells are forked: what every run imports, so that none does it again."""

from ftlit.imports import fast_imports

with fast_imports():
    import datasets
    import peft
    import torchmetrics

    import ftlit.cli
    import ftlit.tuning

__all__ = ["datasets", "ftlit", "peft", "torchmetrics"]

"""Imported once by the process from which all cells are forked, so that cells do not repeat imports and set-up."""

import gc
from contextlib import suppress

from ftlit.util.startup import fast_imports

with fast_imports():
    import datasets
    import peft
    import torch
    import torchmetrics
    from matplotlib.figure import Figure

    import ftlit.commands.cli
    import ftlit.tuning
    from ftlit.study.running.rehearsal import rehearse, warm_up
    from ftlit.util.startup import quiet

__all__ = ["Figure", "datasets", "ftlit", "peft", "torchmetrics"]

quiet()
torch.set_num_threads(1)  # threads do not survive a fork; each cell sets its own number
with suppress(OSError):  # the cells report a full disk
    warm_up()
rehearse()
gc.collect()
gc.freeze()  # the collector of a cell would copy the memory that it shares with this process

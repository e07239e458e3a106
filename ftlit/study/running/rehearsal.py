"""A small run in the process from which cells are forked, so that what is slow the first time is not slow in each cell."""

import io
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from shutil import which
from string import ascii_lowercase
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import torch
from matplotlib.figure import Figure
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tqdm.std import tqdm
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

from ftlit.commands.cli import run
from ftlit.study.running.worker import clear_option_variables
from ftlit.training.flops import matmul_peak

GPU_DEVICES = "/dev/nvidiactl", "/dev/dxg", "/dev/kfd"
WORDS = "[PAD]", "[UNK]", *ascii_lowercase
SIZES: dict[str, Any] = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
OPTIONS = {
    "model": "TextClassification",
    "model.head": "PooledHead",
    "model.tuning": "LoRA",
    "model.tuning.r": "1",
    "data": "TextClassificationData",
    "trainer.accelerator": "cpu",
    "trainer.devices": "1",
    "trainer.max_epochs": "1",
    "trainer.enable_progress_bar": "false",
    "test_after_fit": "true",
    "keep_last": "false",
}


def may_have_gpu() -> bool:
    """Whether this machine may have a GPU, on which no process can compute that was forked from one that has looked for it."""
    if not any(getattr(torch.version, kind, None) for kind in ("cuda", "hip", "xpu")):
        return torch.backends.mps.is_available()
    return which("nvidia-smi") is not None or any(Path(device).exists() for device in GPU_DEVICES)


def warm_up() -> None:
    """Do what is slow the first time: plotting reads fonts, and loading a model compiles a thousand regular expressions."""
    Figure(layout="constrained").savefig(io.BytesIO())
    with TemporaryDirectory() as folder:
        AutoModel.from_config(BertConfig(vocab_size=8, **SIZES)).save_pretrained(folder)
        AutoModel.from_pretrained(folder)
    matmul_peak(torch.device("cpu"), torch.float32)  # before cells take up the processor


def rehearse() -> None:
    """Train and evaluate a tiny model, and leave the settings of this process as they were.

    Nothing is done where there may be a GPU. A rehearsal that fails saves no time, and is no error.
    """
    if may_have_gpu():
        return
    with suppress(Exception, SystemExit), unchanged(), TemporaryDirectory() as folder:
        run(["fit", *_options(Path(folder))])


def _options(folder: Path) -> list[str]:
    """Write a model and its data; returns the options that name them."""
    model, rows = folder / "model", folder / "rows"
    AutoModel.from_config(BertConfig(vocab_size=len(WORDS), **SIZES)).save_pretrained(model)
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(model)
    rows.mkdir()
    for split in ("train", "validation", "test"):
        (rows / f"{split}.csv").write_text("text,label\ny,yes\nn,no\n")
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    places = {"model.backbone": model, "data.dataset": rows, "run_dir": folder / "run"}
    return [f"--{name}={value}" for name, value in {**OPTIONS, **places}.items()]


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore what a run changes in its process, such as environment variables and random states, and drop what it prints."""
    environment, path, cache = dict(os.environ), list(sys.path), datasets.config.HF_DATASETS_CACHE
    interval, tqdm.monitor_interval = tqdm.monitor_interval, 0  # no thread that watches progress bars: none survives a fork
    python, numpy, own = random.getstate(), np.random.get_state(), torch.get_rng_state()
    clear_option_variables()
    try:
        silent = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(silent), redirect_stderr(silent):
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:], datasets.config.HF_DATASETS_CACHE, tqdm.monitor_interval = path, cache, interval
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(own)

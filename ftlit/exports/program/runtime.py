"""Run a program of torch.export."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ftlit.exports.program.safety import NAMES, check_program
from ftlit.util.files import damaged


class Program:
    """A program with the names of its inputs and outputs; it runs on the CPU.

    Args:
        file: The program.
        trusted: Whether it may hold more than tensors and operators.

    Raises:
        UserError: It holds more, or it cannot be read.
    """

    own_threads = False

    def __init__(self, file: Path, trusted: bool = False) -> None:
        if not trusted:
            check_program(file)
        names = {NAMES: ""}
        try:
            with silent():
                self.module = torch.export.load(file, extra_files=names).module()
            self.inputs, self.outputs = json.loads(names[NAMES])
        except Exception as error:  # a damaged file can fail anywhere in PyTorch
            raise damaged(file, (str(error).strip().splitlines() or ["no reason given"])[0]) from error

    def __call__(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Return the outputs in their order for arguments by their names."""
        return [*self.module(*(inputs[name].cpu() for name in self.inputs))]


@contextmanager
def silent() -> Iterator[None]:
    """Suppress warnings of torch.export."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

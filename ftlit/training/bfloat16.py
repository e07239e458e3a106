"""Choose and check the precision: bfloat16 only on hardware that multiplies it."""

from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.plugins.precision import HalfPrecision

from ftlit.errors import UserError
from ftlit.util.private import cpu_multiplies_bfloat16


def native_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 products."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_multiplies_bfloat16()


def default_precision() -> str:
    """`bf16-mixed` if the hardware multiplies bfloat16, else `32-true`."""
    native = native_bfloat16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return "bf16-mixed" if native else "32-true"


def check_precision(precision: str, device: torch.device) -> None:
    """Check that mixed precision is not many times slower than float32 on a device.

    Raises:
        UserError: The processor does not multiply bfloat16.
    """
    if precision == "bf16-mixed" and device.type == "cpu" and not native_bfloat16(device):
        raise UserError(
            "trainer.precision bf16-mixed needs a processor that multiplies bfloat16 (AVX512-BF16 or AMX), and this one does "
            "not: it would be many times slower than float32; set trainer.precision: 32-true"
        )


def keep_inputs(trainer: Trainer) -> None:
    """Let batches keep their numbers in `bf16-true` and `16-true`, where Lightning would round labels, weights and bytes.

    Models take whole numbers, so nothing else in a batch has to have their precision.
    """
    if isinstance(trainer.precision_plugin, HalfPrecision):
        plugin: Any = trainer.precision_plugin
        plugin.convert_input = _unchanged


def _unchanged(batch: Any) -> Any:
    return batch

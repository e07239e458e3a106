"""Choose and check the precision: bfloat16 only on hardware that multiplies it."""

from typing import Any

import torch

from ftlit.errors import UserError
from ftlit.util.private import cpu_multiplies_bfloat16


def native_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 products."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_multiplies_bfloat16()


def default_precision(accelerator: Any = "auto") -> str:
    """`bf16-mixed` if the device multiplies bfloat16, else `32-true`.

    Args:
        accelerator: The option `trainer.accelerator`.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if native_bfloat16(torch.device("cuda" if on_gpu else "cpu")) else "32-true"


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

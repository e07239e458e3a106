"""Choose and check the precision: bfloat16 only on hardware that multiplies it."""

import torch

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


def precision_note(precision: str) -> str | None:
    """Return a sentence about a precision in which small updates of the weights are lost, or None."""
    if not precision.endswith("-true") or precision.startswith(("32", "64")):
        return None
    share = 256 if precision.startswith("bf16") else 2048
    return (
        f"trainer.precision {precision} keeps the weights themselves in 16 bits: an update below about 1/{share} of a weight is "
        "rounded away, and most are at the learning rates of full fine-tuning; bf16-mixed keeps the weights in 32 bits"
    )

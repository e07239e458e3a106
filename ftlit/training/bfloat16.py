"""Choose and check the precision: bfloat16 only on hardware that multiplies it, and no updates that rounding undoes."""

from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.plugins.precision import HalfPrecision
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.tuning.base import is_scheduled
from ftlit.util.private import cpu_multiplies_bfloat16

SAMPLE = 256  # numbers of each weight that are compared
MOST_LOST = 0.5  # share of the trained weights that may stay where they were


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


def precision_note(precision: str) -> str | None:
    """Return a sentence about a precision in which small updates of the weights are lost, or None."""
    if not precision.endswith("-true") or precision.startswith(("32", "64")):
        return None
    share = 256 if precision.startswith("bf16") else 2048
    return (
        f"trainer.precision {precision} keeps the weights themselves in 16 bits: an update below about 1/{share} of a weight "
        "is rounded away, and most are at the learning rates of full fine-tuning; bf16-mixed keeps the weights in 32 bits"
    )


class LostUpdates:
    """Whether the trained weights of 16 bits move, or rounding undoes their updates. It compares a sample of each weight.

    Embeddings are left out, since those of absent tokens rightly stay.

    Args:
        module: The task, before its first optimizer step.
    """

    def __init__(self, module: nn.Module) -> None:
        tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
        trained = {name: w for name, w in module.named_parameters() if w.requires_grad and not is_scheduled(w)}
        self.weights: dict[str, Any] = {n: w for n, w in trained.items() if w.itemsize < 4 and id(w) not in tables}
        self.before = {name: sample(weight) for name, weight in self.weights.items()}

    def check(self, steps: int, precision: str) -> None:
        """Check that most weights have moved.

        Args:
            steps: Optimizer steps with a learning rate above 0 so far.
            precision: The precision of the trainer, for the message.

        Raises:
            UserError: Most of them are still where they were.
        """
        same = {name: (sample(self.weights[name]) == old).float().mean() for name, old in self.before.items() if len(old)}
        sizes = {name: self.weights[name].numel() for name in same}
        still = {name: float(share) * sizes[name] for name, share in same.items()}
        if (share := sum(still.values()) / max(sum(sizes.values()), 1)) > MOST_LOST:
            raise UserError(
                f"after {steps} optimizer steps {share:.0%} of the trained weights have not moved, such as those of "
                f"{max(still, key=lambda name: still[name])}: trainer.precision {precision} rounds updates away that are small "
                "beside the weight; take bf16-mixed or 32-true, or raise model.optimizer.lr"
            )


def sample(weight: Any) -> Tensor:
    """Numbers of a weight at equal distances, up to `SAMPLE` of them."""
    own = weight.to_local() if hasattr(weight, "to_local") else weight
    return own.detach().reshape(-1)[:: max(own.numel() // SAMPLE, 1)].clone()


def keep_inputs(trainer: Trainer) -> None:
    """Let batches keep their numbers in `bf16-true` and `16-true`, where Lightning would round labels, weights and bytes.

    Models take whole numbers, so nothing else in a batch has to have their precision.
    """
    if isinstance(trainer.precision_plugin, HalfPrecision):
        plugin: Any = trainer.precision_plugin
        plugin.convert_input = _unchanged


def _unchanged(batch: Any) -> Any:
    return batch

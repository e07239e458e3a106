"""Dropout on CPUs with masks that cost a fraction of PyTorch's."""

from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 1 << 16  # probabilities are multiples of 1 / LEVELS


def kept_levels(p: float) -> int:
    """How many of the `LEVELS` values of 16 random bits keep an element that is dropped with probability `p`."""
    return round((1 - p) * LEVELS)


def draw_mask(like: Tensor, p: float) -> Tensor:
    """Draw independently for each element whether it is kept (1) or dropped (0).

    PyTorch's generator gives 64 bits at a time, which serve four elements. Its state is the only state, so that whatever saves
    and restores it, such as a checkpoint of a run or the recomputation of a layer, also repeats the masks.

    Args:
        like: A tensor on the CPU of the shape and type of the mask.
        p: Probability that an element is dropped, which is rounded to a multiple of 1/65536.
    """
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    mask = torch.empty(like.shape, dtype=like.dtype)
    return torch.le(bits, kept_levels(p) - LEVELS // 2 - 1, out=mask)


class _Dropout(torch.autograd.Function):
    """Elements times mask times scale, rounded once."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, p: float) -> Tensor:
        mask = draw_mask(inputs, p)
        ctx.scale = LEVELS / kept_levels(p)
        ctx.save_for_backward(mask)
        return _scaled(inputs, mask, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (mask,) = ctx.saved_tensors
        return _scaled(gradients[0], mask, ctx.scale), None


def _scaled(values: Tensor, mask: Tensor, scale: float) -> Tensor:
    return torch.addcmul(values.new_zeros(()), values, mask, value=scale)


def dropout(inputs: Tensor, p: float) -> Tensor:
    """Drop elements with probability `p`, and divide the others by the probability that they are kept.

    On a CPU, the probability is rounded to a multiple of 1/65536, and the divisor is that of the rounded value, so that the
    expectation is exact. On other devices this is PyTorch's dropout.

    Args:
        inputs: Numbers of any shape.
        p: Probability that an element is dropped.
    """
    if inputs.device.type != "cpu" or not inputs.is_floating_point() or not 0 < p < 1 or torch.compiler.is_compiling():
        return nn.functional.dropout(inputs, p)
    return _Dropout.apply(inputs, p) if kept_levels(p) else torch.zeros_like(inputs)


class FastDropout(nn.Dropout):
    """A dropout layer whose masks are drawn by `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p) if self.training and self.p else input


def draw_masks_fast(model: nn.Module) -> None:
    """Let the dropout layers of a model draw their masks by `dropout`. Parameters and names stay as they are."""
    for part in model.modules():
        if type(part) is nn.Dropout and not part.inplace:
            part.__class__ = FastDropout

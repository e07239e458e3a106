"""Linear layers in float32 on AMD's Zen 5, where oneDNN multiplies more than twice as fast as MKL, PyTorch's default."""

from typing import Any

import torch
from torch import Tensor, nn

from ftlit.util.private import multiply_by_onednn, onednn_outruns_mkl

FEWEST = 1 << 21  # multiplications of a product from which oneDNN, which takes 10 µs to begin, is faster
BITS = 5  # of a number of rows that need not be zeros


class _Linear(torch.autograd.Function):
    """``inputs @ weight.T + bias`` and its gradients."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return multiply_by_onednn(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (inputs, weight) = gradients, ctx.saved_tensors
        for_inputs, for_weight, for_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _multiplied(gradient, weight.t()) if for_inputs else None,
            _multiplied(rows.t(), inputs.reshape(-1, inputs.shape[-1]).t()) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``inputs @ weight.T + bias``, by oneDNN where it is faster.

    oneDNN keeps up to half a megabyte for every number of rows that it has multiplied. So rows of zeros are added up to the
    next of a few numbers, and left out of the result.

    Args:
        inputs: ``(..., in)``
        weight: ``(out, in)``
        bias: ``(out,)``, or None.
    """
    if not _is_faster_by_onednn(inputs, weight):
        return nn.functional.linear(inputs, weight, bias)
    count = inputs.shape[:-1].numel()
    if not (added := missing(count)):
        return _multiplied(inputs, weight, bias)
    rows = nn.functional.pad(inputs.reshape(count, -1), (0, 0, 0, added))
    return _multiplied(rows, weight, bias)[:count].view(*inputs.shape[:-1], -1)


def missing(rows: int) -> int:
    """How many rows are missing to the next number that has zeros behind its first five bits: at most one in sixteen."""
    return -rows % (1 << max(rows.bit_length() - BITS, 0))


def _multiplied(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`linear` without added rows."""
    multiply: Any = _Linear.apply if _is_faster_by_onednn(inputs, weight) else nn.functional.linear
    return multiply(inputs, weight, bias)


def _is_faster_by_onednn(inputs: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can multiply these, and does so faster."""
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and inputs.numel() * weight.shape[0] >= FEWEST
        and inputs.dtype == weight.dtype == torch.float32
        and inputs.device.type == weight.device.type == "cpu"
        and type(weight) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
    )


class FastLinear(nn.Linear):
    """A linear layer that multiplies by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def multiply_fast(model: nn.Module) -> None:
    """Let the linear layers of a model multiply by `linear`, if that can be faster on this processor.

    Parameters and names stay as they are. Outputs differ from PyTorch's by rounding.
    """
    for part in model.modules() if onednn_outruns_mkl() else ():
        if type(part) is nn.Linear:
            part.__class__ = FastLinear

"""Mixed precision on processors that do not multiply bfloat16: products in float32, rounded to what the others give."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from ftlit.util.private import cpu_multiplies_bfloat16

PRODUCTS: set[Callable[..., Any]] = {
    *(functional.linear, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum),
    *(Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm, Tensor.addmm, Tensor.baddbmm),
    functional.scaled_dot_product_attention,
}  # of those that autocast takes into its lower precision, the ones that models of text use


def native_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 by itself; where a processor does not, PyTorch's own way is many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_multiplies_bfloat16()


def takes_upcast(precision: str, device: torch.device) -> bool:
    """Whether a precision of Lightning is mixed in bfloat16 on a processor that does not multiply it."""
    return precision == "bf16-mixed" and device.type == "cpu" and not native_bfloat16(device)


class RoundedProducts(TorchFunctionMode):
    """Inside, under autocast to bfloat16, products take rounded inputs, add up in float32, and round what they give.

    That is what hardware for bfloat16 does, forward and backward, up to the order in which it adds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func not in PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **given)
        mask = given.pop("attn_mask", None)  # whose least values have no place in bfloat16
        args, given = tree_map_only(Tensor, _rounded, (args, given))
        with torch.autocast("cpu", enabled=False):
            found = func(*args, **given, **({} if mask is None else {"attn_mask": mask}))
        return found.to(torch.bfloat16)


def _rounded(value: Tensor) -> Tensor:
    return value.to(torch.bfloat16).float() if value.is_floating_point() else value


class UpcastMixedPrecision(MixedPrecision):
    """Lightning's `bf16-mixed` with products in float32."""

    def __init__(self) -> None:
        super().__init__("bf16-mixed", "cpu")

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        with super().forward_context(), RoundedProducts():
            yield

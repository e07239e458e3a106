"""Estimate the floating point operations of training from a few batches, and measure the peak rate of the machine."""

import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from ftlit.models.speed.linear import linear
from ftlit.util.private import attention_of_cpus, linear_by_onednn, operator_of

BATCHES = 3  # counted in each stage of training


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape)


def _linear(inputs: Any, weight: Any, *args: Any, **kwargs: Any) -> int:
    return int(2 * inputs.numel() * weight.shape[0])


FORMULAS = {
    **flop_registry,  # which lacks attention and oneDNN's products on CPUs
    linear_by_onednn(): _linear,
    **dict(zip(attention_of_cpus(), (_attention, _attention_backward), strict=True)),
}


class FlopCounter(TorchDispatchMode):
    """Counts the operations of matrix products and attention inside the context, with PyTorch's formulas.

    Unlike PyTorch's `FlopCounterMode`, it does not hook into modules, so it can be opened for a forward pass and closed before
    the backward pass. It does not change results.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.flops: float = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if formula := FORMULAS.get(operator_of(func)):
            try:
                self.flops += formula(*args, **given, out_val=result)
            except (AssertionError, ValueError):  # shapes that a formula of an older PyTorch does not know
                self.flops = float("nan")
        return result


@dataclass
class FlopSample:
    """Operations and tokens, padding included, of the counted batches."""

    flops: float = 0
    tokens: int = 0
    batches: int = 0

    def add(self, flops: float, tokens: int) -> None:
        """Add a batch."""
        self.flops, self.tokens, self.batches = self.flops + flops, self.tokens + tokens, self.batches + 1

    def times(self, tokens: int) -> float:
        """Estimate the operations for a number of tokens."""
        return self.flops / self.tokens * tokens if self.tokens else 0.0


class Flops:
    """Operations of the forward and backward passes of training on this device.

    Operations are counted on the first three batches. Later batches are assumed to need as many operations per token, padding
    included. This is slightly inaccurate for other lengths, since attention grows with the square of the length. The backward
    pass is counted without frozen parts, and is counted again whenever the set of trained weights changes. Matrix products,
    convolutions and attention are counted, with a multiplication and an addition as two operations; the optimizer is not.
    """

    def __init__(self) -> None:
        self.forward, self.backward = FlopSample(), FlopSample()
        self.tokens = self.stage_tokens = 0  # in total, and since the set of trained weights last changed
        self.earlier = 0.0  # operations of backward passes before that change
        self.trained: list[bool] = []
        self._weights: list[nn.Parameter] = []
        self._counter: FlopCounter | None = None

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        own = {"tokens": self.tokens, "stage_tokens": self.stage_tokens, "earlier": self.earlier, "trained": self.trained}
        return {**own, "forward": asdict(self.forward), "backward": asdict(self.backward)}

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        own = dict(state)
        self.forward, self.backward = FlopSample(**own.pop("forward")), FlopSample(**own.pop("backward"))
        vars(self).update(own)

    def total(self) -> tuple[float, float]:
        """Operations of all forward passes and of all backward passes so far."""
        return self.forward.times(self.tokens), self.earlier + self.backward.times(self.stage_tokens)

    # Around the passes of each batch

    def before_forward(self, module: nn.Module) -> None:
        """Start counting if this forward pass is one of the first."""
        self._weights = self._weights or list(module.parameters())
        self._open(self.forward)

    def before_backward(self, tokens: int) -> None:
        """Start counting if this backward pass is one of the first with these trained weights."""
        self._close(self.forward, tokens)
        trained = [weight.requires_grad for weight in self._weights]
        if trained != self.trained:
            self.earlier, self.stage_tokens = self.earlier + self.backward.times(self.stage_tokens), 0
            self.backward, self.trained = FlopSample(), trained
        self._open(self.backward)

    def after_backward(self, tokens: int) -> None:
        """Stop counting after the backward pass of a batch."""
        self._close(self.backward, tokens)
        self.tokens, self.stage_tokens = self.tokens + tokens, self.stage_tokens + tokens

    def _open(self, sample: FlopSample) -> None:
        if sample.batches < BATCHES:
            self._counter = FlopCounter()
            self._counter.__enter__()

    def _close(self, sample: FlopSample, tokens: int) -> None:
        if self._counter is not None:
            sample.add(self._counter.flops, tokens)
            self.stop()

    def stop(self) -> None:
        """Stop counting the current pass."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None


def compute_dtype(precision: str) -> torch.dtype:
    """The data type of matrix products under a precision of Lightning, such as `bf16-mixed`."""
    kinds = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
    return kinds.get(precision.split("-")[0], torch.float32)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of the fastest of several square matrix products, with the current number of threads.

    This is measured once per process. The cells of a study share a measurement that was made before they run.

    Args:
        device: Device of the matrices.
        dtype: Data type of the matrices.
    """
    return measured_peak(device, dtype, torch.get_num_threads())


@cache
@torch.no_grad()
def measured_peak(device: torch.device, dtype: torch.dtype, threads: int, seconds: float = 0.15) -> float:
    """Measure the peak rate.

    Args:
        device: Device of the matrices.
        dtype: Data type of the matrices.
        threads: Current number of threads, part of the key of the cache.
        seconds: Larger products are tried as long as the measurement has taken less than this. Sizes up to 1024 are tried for
            up to one second, for slow or busy machines.
    """
    best, size, begun = 0.0, 256, time.perf_counter()
    while size <= 8192 and _taken(begun, size, best) < (1.0 if size <= 1024 else seconds):
        try:
            side = torch.linspace(-1, 1, size * size, device=device, dtype=dtype).view(size, size)
            best = max(best, *(2 * size**3 / _seconds(side) for _ in range(_times(size))))
        except torch.OutOfMemoryError:
            break
        size *= 2
    return best


def _taken(begun: float, size: int, best: float) -> float:
    """Seconds since the start if the products of a size are added at the best rate so far."""
    return time.perf_counter() - begun + (_times(size) * 2 * size**3 / best if best and size > 1024 else 0.0)


def _times(size: int) -> int:
    """How often products of a size are repeated: large ones are less sensitive to disturbances."""
    return 4 if size < 1024 else 2


def _seconds(side: torch.Tensor) -> float:
    wait = torch.cuda.synchronize if side.is_cuda else lambda: None
    wait()
    begun = time.perf_counter()
    linear(side, side)
    wait()
    return time.perf_counter() - begun

"""Floating point operations of a training, estimated from a few batches, and the peak of the machine."""

import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from ftlit.util.private import attention_of_cpus, operator_of

BATCHES = 3  # counted of each stage of a training


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape)


FORMULAS = {
    **flop_registry,  # which lacks the attention of CPUs
    **dict(zip(attention_of_cpus(), (_attention, _attention_backward), strict=True)),
}


class FlopCounter(TorchDispatchMode):
    """Counts the operations of matrix products and attention inside the context, with PyTorch's formulas.

    Unlike PyTorch's `FlopCounterMode` it hooks into no module, so that it may be opened for a forward pass and closed before
    the backward pass. It changes no result.
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
    """Operations and tokens, padding included, of some batches."""

    flops: float = 0
    tokens: int = 0
    batches: int = 0

    def add(self, flops: float, tokens: int) -> None:
        """Add a batch."""
        self.flops, self.tokens, self.batches = self.flops + flops, self.tokens + tokens, self.batches + 1

    def times(self, tokens: int) -> float:
        """Estimated operations for a number of tokens."""
        return self.flops / self.tokens * tokens if self.tokens else 0.0


class Flops:
    """Operations of the forward and the backward passes of a training on this device.

    They are counted on the first three batches, and for all tokens that follow, padding included, estimated to be as many a
    token; so batches of other lengths count a little wrong, since attention grows with the square of the length. The backward
    pass is counted as it runs, without the parts that are frozen, and anew whenever other weights begin or cease to train.
    Matrix products, convolutions and attention count, an addition and a multiplication as two; the optimizer does not.
    """

    def __init__(self) -> None:
        self.forward, self.backward = FlopSample(), FlopSample()
        self.tokens = self.stage_tokens = 0  # in all, and since the backward pass is what it is
        self.earlier = 0.0  # backward passes before that
        self.trained: list[bool] = []
        self._weights: list[nn.Parameter] = []
        self._counter: FlopCounter | None = None

    def state(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        own = {"tokens": self.tokens, "stage_tokens": self.stage_tokens, "earlier": self.earlier, "trained": self.trained}
        return {**own, "forward": asdict(self.forward), "backward": asdict(self.backward)}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        own = dict(state)
        self.forward, self.backward = FlopSample(**own.pop("forward")), FlopSample(**own.pop("backward"))
        vars(self).update(own)

    def total(self) -> tuple[float, float]:
        """Operations of all forward passes and of all backward passes so far."""
        return self.forward.times(self.tokens), self.earlier + self.backward.times(self.stage_tokens)

    # Around the passes of each batch

    def before_forward(self, module: nn.Module) -> None:
        """Count the next forward pass, if it is one of the first."""
        self._weights = self._weights or list(module.parameters())
        self._open(self.forward)

    def before_backward(self, tokens: int) -> None:
        """Count the next backward pass, if it is one of the first with these weights."""
        self._close(self.forward, tokens)
        trained = [weight.requires_grad for weight in self._weights]
        if trained != self.trained:
            self.earlier, self.stage_tokens = self.earlier + self.backward.times(self.stage_tokens), 0
            self.backward, self.trained = FlopSample(), trained
        self._open(self.backward)

    def after_backward(self, tokens: int) -> None:
        """End the count of a batch."""
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
    """The type in which a precision of Lightning, such as `bf16-mixed`, multiplies matrices."""
    kinds = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
    return kinds.get(precision.split("-")[0], torch.float32)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the best of several square matrix products, with the present number of threads.

    It is measured once in a process; the cells of a study share what was measured before any of them ran.

    Args:
        device: Where.
        dtype: The type of the matrices.
    """
    return measured_peak(device, dtype, torch.get_num_threads())


@cache
@torch.no_grad()
def measured_peak(device: torch.device, dtype: torch.dtype, threads: int, seconds: float = 0.15) -> float:
    """The peak as it is now.

    Args:
        device: Where.
        dtype: The type of the matrices.
        threads: The present number of threads, which tells one measurement from another.
        seconds: Products grow as long as they are done in so much time, on a slow or busy machine a second for those of
            some size.
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
    """Seconds since the beginning, once the products of a size have been done at the best rate so far."""
    return time.perf_counter() - begun + (_times(size) * 2 * size**3 / best if best and size > 1024 else 0.0)


def _times(size: int) -> int:
    """How often the products of a size are done: large ones are less easily disturbed."""
    return 4 if size < 1024 else 2


def _seconds(side: torch.Tensor) -> float:
    wait = torch.cuda.synchronize if side.is_cuda else lambda: None
    wait()
    begun = time.perf_counter()
    side @ side
    wait()
    return time.perf_counter() - begun

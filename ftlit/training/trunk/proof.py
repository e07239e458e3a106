"""Prove on a few examples that the stored states of a trunk can take its place in forward passes."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ftlit.models.backbones import evaluation_mode
from ftlit.models.replay import observed, replayed
from ftlit.training.flops import compute_dtype
from ftlit.training.stored.canonical import Passes, examples_to_try
from ftlit.training.trunk.states import states

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}  # of outputs, as a share of the largest; 0.05 for products of 16 bits


@dataclass(frozen=True)
class Proof:
    """What was found on a few examples.

    Args:
        reason: Why the states cannot be stored; None if they can.
        forms: The forms in which the layers return them.
        token_bytes: Bytes of the states of a token.
    """

    reason: str | None
    forms: list[int | None] = field(default_factory=list)
    token_bytes: int = 0


def proof(passes: Passes, split: str) -> Proof:
    """Try on a few examples whether the states of a trunk can be stored. No random number of the run is drawn.

    Args:
        passes: The task and its data.
        split: The split whose examples are tried.
    """
    devices = [passes.device] if passes.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        return _proof(passes, split)


def _proof(passes: Passes, split: str) -> Proof:
    examples = examples_to_try(passes.data.lengths(split))
    batch = passes.batch(split, examples)
    if "attention_mask" not in batch:
        return Proof("a row holds several texts")
    if not passes.repeats(split, examples):
        return Proof("the data change the texts in each epoch")
    layers = passes.task.stages.trunk.layers
    seen = observed(layers, lambda: passes.run(batch))
    again = observed(layers, lambda: passes.run(batch)).hidden
    if seen.hidden is None or again is None or seen.hidden.shape[:2] != batch["attention_mask"].shape:
        return Proof("the lowest layers do not return a state for each token")
    if seen.hidden.requires_grad or not torch.equal(seen.hidden, again):
        return Proof("something below the lowest trained layer trains or is random")
    hidden = seen.hidden
    return Proof(_reason_of_layers(passes, split, examples, batch), seen.forms, hidden.shape[-1] * hidden.itemsize)


@torch.no_grad()
def _reason_of_layers(passes: Passes, split: str, examples: list[int], batch: dict[str, Any]) -> str | None:
    layers, mask, outputs = passes.task.stages.trunk.layers, batch["attention_mask"].bool(), list[dict[str, Tensor]]()
    with evaluation_mode(passes.task):
        seen = observed(layers, lambda: outputs.append(_tensors(passes.run(batch), mask)), stop=False)
        assert seen.hidden is not None
        if seen.calls != [1] * len(layers):
            return "the layers of the backbone share their weights"
        single = [states(passes, passes.batch(split, [example]))[1] for example in examples]
        stored = torch.zeros_like(seen.hidden)
        stored[mask] = torch.cat(single)
        try:
            for hidden in (seen.hidden, stored):
                with replayed(layers, hidden, seen.forms):
                    outputs.append(_tensors(passes.run(batch), mask))
        except (TypeError, ValueError, AttributeError, RuntimeError, IndexError):
            return "the layers above need more of those below than their states"
    computed, same, read = outputs
    if not all(torch.equal(value, same[name]) for name, value in computed.items()):
        return "the layers above need more of those below than their states"
    tolerance = TOLERANCE.get(compute_dtype(str(passes.trainer.precision)), 0.05)
    if not all(_close(value, read[name], tolerance) for name, value in computed.items()):
        return "the outputs depend on the padding"
    return None


def _tensors(output: Any, mask: Tensor) -> dict[str, Tensor]:
    """The tensors in a model's output; of those with a value for each token, the values of real tokens."""
    found = {name: value for name, value in output.items() if isinstance(value, Tensor)}
    return {name: value[mask] if value.shape[:2] == mask.shape else value for name, value in found.items()}


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return bool((one - other).abs().max() <= tolerance * max(float(one.abs().max()), 1.0))

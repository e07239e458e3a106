"""Penalties that keep trained weights near those that a run began with, so that it forgets less of what they know.

A penalty is a sum over all trained weights of the model, ``strength * (weight - target) ** 2 / 2``.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ftlit.tuning.base import is_trainable, known_rows
from ftlit.util.arguments.checked import CheckedArguments

Weights = Mapping[str, nn.Parameter]
# Computes how much each value of the weights matters to an earlier run, from its folder, or None for that of
# `model.init_from`, and from a number of rows of its train split.
Importance = Callable[[Weights, str | None, int], Mapping[str, Tensor]]


class Pull(NamedTuple):
    """What a weight is held near.

    Attributes:
        target: The values, in the shape of the weight, or a single one for all of it.
        strength: How strongly each value is held, likewise.
    """

    target: Tensor
    strength: Tensor


class Anchors:
    """The pulls on the trained weights of a model.

    Args:
        pulls: The pull on each weight, by the weight's name in the model.
    """

    def __init__(self, pulls: Mapping[str, Pull]) -> None:
        self.pulls = {name: Pull(*pull) for name, pull in pulls.items()}

    def penalty(self, model: nn.Module) -> Tensor:
        """Return the penalty for the present weights of a model, a single number in float32."""
        weights = dict(model.named_parameters())
        terms = [(pull.strength * (weights[name].float() - pull.target) ** 2).sum() / 2 for name, pull in self.pulls.items()]
        return torch.stack(terms).sum()

    def to(self, device: torch.device) -> "Anchors":
        """Return the anchors on a device."""
        return Anchors({name: Pull(*(values.to(device) for values in pull)) for name, pull in self.pulls.items()})

    def state(self) -> dict[str, list[Tensor]]:
        """Return what a checkpoint needs to hold the weights in the same way again."""
        return {name: list(pull) for name, pull in self.pulls.items()}


class Keep(metaclass=CheckedArguments):
    """Base class of penalties that keep weights near those that a run began with."""

    config_key: ClassVar[str] = "model.keep"

    @abstractmethod
    def pulls(self, weights: Weights, importance: Importance) -> dict[str, Pull]:
        """Return how each weight is held.

        Args:
            weights: The trained weights by name, with the values that training begins with.
            importance: Computes how much each value of the weights matters to an earlier run.
        """


@dataclass(frozen=True)
class L2SP(Keep):
    """Squared distance from the weights that training begins with, after Li et al. (2018), who call it L2-SP.

    The loss grows by ``alpha / 2 * |w - w0|² + beta / 2 * |new|²``, where ``w0`` are weights with an earlier value: those of
    `model.init_from`, or pretrained ones. Adapters count as such, since they begin with what changes nothing.

    Args:
        alpha: Strength for weights that have an earlier value.
        beta: Strength for newly initialized weights, which are held near 0.
    """

    alpha: float = 0.1
    beta: float = 0.01

    def pulls(self, weights: Weights, importance: Importance) -> dict[str, Pull]:
        return {name: self._pull(weight) for name, weight in weights.items()}

    def _pull(self, weight: nn.Parameter) -> Pull:
        known = known_rows(weight)
        strength = torch.where(known, self.alpha, self.beta)
        return Pull(_start(weight) * known, strength) if known.any() else Pull(torch.zeros_like(strength), strength)


@dataclass(frozen=True)
class EWC(Keep):
    """Elastic weight consolidation: a squared distance in which weights count by what they mean to an earlier run.

    The loss grows by ``strength / 2 * F * (w - w0)²`` (Kirkpatrick et al., 2017). ``F`` is the diagonal of the empirical
    Fisher information: the mean over rows of the earlier run's train split of the squared gradient of the task's loss.
    It is computed when training begins, without dropout, and is part of the checkpoint. New weights are free.

    Args:
        strength: Strength of the penalty. Gradients at the end of a training are small, so useful values are large.
        rows: Number of rows of the earlier run's train split, drawn at random.
        run: Folder of the earlier run; by default that of `model.init_from`.
    """

    strength: float = 1000.0
    rows: int = 256
    run: str | None = None

    def pulls(self, weights: Weights, importance: Importance) -> dict[str, Pull]:
        old = {name: weight for name, weight in weights.items() if known_rows(weight).any()}
        found = importance(old, self.run, self.rows)
        return {name: Pull(_start(weight), self.strength * found[name] * known_rows(weight)) for name, weight in old.items()}


def _start(weight: nn.Parameter) -> Tensor:
    return weight.detach().float().clone()


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a model that train, now or in a later stage, by name."""
    return {name: weight for name, weight in model.named_parameters() if is_trainable(weight)}

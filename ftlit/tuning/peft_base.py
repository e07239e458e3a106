"""What methods share that peft implements: peft's configuration, wrapped around the backbone."""

import inspect
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ftlit.errors import UserError, near
from ftlit.tuning.base import Tuning
from ftlit.tuning.layers import linear_layers

# BOFT and FOURIERFT fail in less; LOHA and LOKR pass over a layer when a random number, of 8 bits then, is exactly 0.
OF_32_BITS = ("BOFT", "FOURIERFT", "LOHA", "LOKR")


class PeftTuning(Tuning):
    """A method of peft on the backbone alone, so that heads stay what they are."""

    @abstractmethod
    def config(self, backbone: nn.Module) -> Any:
        """The configuration of peft for this backbone.

        Raises:
            UserError: The method does not fit the backbone.
        """

    def check(self, backbone: nn.Module) -> None:
        self.config(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        from peft import get_peft_model

        return get_peft_model(backbone, self.config(backbone))  # type: ignore[arg-type]

    def merge(self, backbone: Any) -> nn.Module:
        return backbone.merge_and_unload()


def is_transposed(backbone: nn.Module) -> bool:
    """Whether the linear layers keep their weights as ``(in, out)``, as GPT-2's do; peft calls it fan_in_fan_out."""
    return any(type(module).__name__ == "Conv1D" for module in backbone.modules())


@dataclass(frozen=True)
class Peft(PeftTuning):
    """Any other method of peft that changes layers, by the name of its type.

    Args:
        method: Name of a `PeftType`, such as VERA, LOHA, LOKR, OFT, BOFT, HRA or FOURIERFT.
        arguments: Arguments of its configuration class; where it has `target_modules` and none are given, all linear layers.
    """

    method: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        known = {kind.value: cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        if self.method.upper() not in known:
            raise UserError(f"model.tuning.method {self.method!r} is no method of peft. {near(self.method, sorted(known))}")
        kind = known[self.method.upper()]
        fields = [name for name in inspect.signature(kind).parameters if name not in ("peft_type", "task_type")]
        for name in self.arguments:
            if name not in fields:
                raise UserError(f"{kind.__name__} has no argument {name!r} (model.tuning.arguments). {near(name, fields)}")

    def config(self, backbone: nn.Module) -> Any:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
        from peft.utils import PeftType

        kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(self.method.upper())]
        names = inspect.signature(kind).parameters
        if "target_modules" not in names:
            raise UserError(
                f"model.tuning.method {self.method} changes no layers; use PromptTuning, PTuning or PrefixTuning, which keep "
                "its positions out of the head's sight"
            )
        given: dict[str, Any] = {"target_modules": linear_layers(backbone)} | self.arguments
        if "fan_in_fan_out" in names:
            given.setdefault("fan_in_fan_out", is_transposed(backbone))
        try:
            return kind(**given)
        except (TypeError, ValueError) as error:
            raise UserError(f"peft refuses model.tuning.arguments of {self.method}: {error}") from error

    def check(self, backbone: nn.Module) -> None:
        # Some methods compute with the weights, which have no values yet; they show with these what does not fit.
        with suppress(NotImplementedError, RuntimeError), torch.random.fork_rng([]):
            self._put_on(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        try:
            return self._put_on(backbone)
        except NotImplementedError as error:
            raise self._misfit(backbone, error) from error

    def _put_on(self, backbone: nn.Module) -> nn.Module:
        try:
            return super().apply(backbone)
        except (TypeError, ValueError, AssertionError, KeyError) as error:
            raise self._misfit(backbone, error) from error

    def _misfit(self, backbone: nn.Module, error: Exception) -> UserError:
        name = type(backbone).__name__
        return UserError(f"peft cannot put {self.method} on {name}: {error} (model.tuning.arguments may name target_modules)")

    def begin(self, backbone: nn.Module, steps: int) -> None:
        whole = all(weight.dtype == torch.float32 for weight in backbone.parameters() if weight.requires_grad)
        if not whole and self.method.upper() in OF_32_BITS:
            raise UserError(
                f"model.tuning.method {self.method} needs weights of 32 bits in peft; "
                "set trainer.precision: bf16-mixed or 32-true"
            )

    def merge(self, backbone: Any) -> nn.Module:
        try:
            return super().merge(backbone)
        except (AttributeError, NotImplementedError) as error:
            raise UserError(f"peft cannot merge {self.method} into the backbone: {error}") from error

"""Base class of methods that are implemented by peft, and access to any other method of peft."""

import inspect
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ftlit.errors import UserError, near
from ftlit.tuning.base import Tuning
from ftlit.tuning.layers import linear_layers

# BOFT and FOURIERFT fail in half precision; LOHA and LOKR skip a layer when a random number, rounded to 8 bits, is exactly 0.
NOT_ARGUMENTS = ("peft_type", "task_type", "megatron_core", "megatron_config")  # peft imports the module that the third names
NEEDS_FLOAT32 = ("BOFT", "FOURIERFT", "LOHA", "LOKR")


class PeftTuning(Tuning):
    """A peft method, applied to the backbone alone so that the head is unchanged."""

    @abstractmethod
    def config(self, backbone: nn.Module) -> Any:
        """Return the peft config for a backbone.

        Raises:
            UserError: If the method does not support the backbone.
        """

    def check(self, backbone: nn.Module) -> None:
        self.config(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        from peft import get_peft_model

        return get_peft_model(backbone, self.config(backbone))  # type: ignore[arg-type]

    def merge(self, backbone: Any) -> nn.Module:
        return backbone.merge_and_unload()


def adapter_weights(backbone: Any) -> dict[str, Tensor]:
    """Copies of the weights of an adapter, by their names in its file."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(backbone, save_embedding_layers=False)
    return {name: weight.detach().clone().contiguous() for name, weight in state.items()}


def is_transposed(backbone: nn.Module) -> bool:
    """Whether linear layers store their weights as ``(in, out)``, as in GPT-2; peft calls this `fan_in_fan_out`."""
    return any(type(module).__name__ == "Conv1D" for module in backbone.modules())


@dataclass(frozen=True)
class Peft(PeftTuning):
    """Use any other peft method that modifies layers.

    Args:
        method: Name of a `PeftType`, such as VERA, LOHA, LOKR, OFT, BOFT, HRA or FOURIERFT.
        arguments: Arguments of the method's peft config. `target_modules` defaults to all linear layers.
    """

    method: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        known = {kind.value: cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        if self.method.upper() not in known:
            raise UserError(f"model.tuning.method {self.method!r} is not a peft method. {near(self.method, sorted(known))}")
        kind = known[self.method.upper()]
        fields = [name for name in inspect.signature(kind).parameters if name not in NOT_ARGUMENTS]
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
                f"model.tuning.method {self.method} modifies no layers; use PromptTuning, PTuning or PrefixTuning, which hide "
                "the prompt's positions from the head"
            )
        given: dict[str, Any] = {"target_modules": linear_layers(backbone)} | self.arguments
        if "fan_in_fan_out" in names:
            given.setdefault("fan_in_fan_out", is_transposed(backbone))
        try:
            return kind(**given)
        except (TypeError, ValueError) as error:
            raise UserError(f"peft does not accept model.tuning.arguments of {self.method}: {error}") from error

    def check(self, backbone: nn.Module) -> None:
        # Some methods compute with the weights, which have no values yet; their errors appear in `apply`.
        with suppress(NotImplementedError, RuntimeError), torch.random.fork_rng([]):
            self._wrap(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        try:
            return self._wrap(backbone)
        except NotImplementedError as error:
            raise self._not_applicable(backbone, error) from error

    def _wrap(self, backbone: nn.Module) -> nn.Module:
        try:
            return super().apply(backbone)
        except (TypeError, ValueError, AssertionError, KeyError) as error:
            raise self._not_applicable(backbone, error) from error

    def _not_applicable(self, backbone: nn.Module, error: Exception) -> UserError:
        name = type(backbone).__name__
        return UserError(
            f"peft cannot apply {self.method} to {name}: {error} (choose layers with target_modules in model.tuning.arguments)"
        )

    def begin(self, backbone: nn.Module, steps: int) -> None:
        full_precision = all(weight.dtype == torch.float32 for weight in backbone.parameters() if weight.requires_grad)
        if not full_precision and self.method.upper() in NEEDS_FLOAT32:
            raise UserError(
                f"model.tuning.method {self.method} requires float32 weights in peft; "
                "set trainer.precision: bf16-mixed or 32-true"
            )

    def merge(self, backbone: Any) -> nn.Module:
        try:
            return super().merge(backbone)
        except (AttributeError, NotImplementedError) as error:
            raise UserError(f"peft cannot merge {self.method} into the backbone: {error}") from error

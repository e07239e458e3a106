"""Methods that scale what layers give."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from ftlit.errors import UserError
from ftlit.tuning.layers import chosen_layers, layers_of
from ftlit.tuning.peft_base import PeftTuning, is_transposed


@dataclass(frozen=True)
class IA3(PeftTuning):
    """Learned factors of keys, values and the inner activations of feed-forward layers (Liu et al., 2022).

    Args:
        targets: Layers whose outputs are scaled, as in LoRA; by default those of keys and values.
        feedforward: Layers whose inputs are scaled; by default the outer ones of the feed-forward parts.
    """

    targets: str | list[str] | None = None
    feedforward: str | list[str] | None = None

    def config(self, backbone: nn.Module) -> Any:
        from peft import IA3Config

        outputs = layers_of(backbone, "key_value", "IA3") if self.targets is None else self._named(backbone, self.targets)
        inputs = (
            layers_of(backbone, "feedforward_output", "IA3")
            if self.feedforward is None
            else self._named(backbone, self.feedforward)
        )
        if both := sorted(set(outputs) & set(inputs)):
            raise UserError(f"model.tuning.targets and feedforward both name {both[0]}: a layer is scaled on one side")
        return IA3Config(target_modules=[*outputs, *inputs], feedforward_modules=inputs, fan_in_fan_out=is_transposed(backbone))

    def _named(self, backbone: nn.Module, targets: str | list[str]) -> list[str]:
        return chosen_layers(backbone, targets, None)

"""Methods that rescale the activations of layers."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from ftlit.errors import UserError
from ftlit.tuning.layers import chosen_layers, layers_of
from ftlit.tuning.peft_base import PeftTuning, is_transposed


@dataclass(frozen=True)
class IA3(PeftTuning):
    """Train vectors that rescale keys, values and the hidden activations of feed-forward blocks (Liu et al., 2022).

    Args:
        targets: Layers whose outputs are rescaled, given as in LoRA. Defaults to the key and value projections.
        feedforward: Layers whose inputs are rescaled. Defaults to the output projections of the feed-forward blocks.
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
            raise UserError(
                f"model.tuning.targets and feedforward both name {both[0]}; rescale either the output or the input of a layer"
            )
        return IA3Config(target_modules=[*outputs, *inputs], feedforward_modules=inputs, fan_in_fan_out=is_transposed(backbone))

    def _named(self, backbone: nn.Module, targets: str | list[str]) -> list[str]:
        return chosen_layers(backbone, targets, None)

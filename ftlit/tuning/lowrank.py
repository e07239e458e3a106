"""Low-rank methods, wrapping peft."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from ftlit.errors import UserError
from ftlit.tuning.base import Tuning


def linear_names(backbone: nn.Module) -> list[str]:
    """The last parts of the names of the backbone's linear layers, such as ``query`` and ``dense``."""
    kinds = {"Linear", "Conv1D"}  # GPT-2 keeps its weights in transformers' Conv1D
    return sorted({n.rsplit(".", 1)[-1] for n, m in backbone.named_modules() if type(m).__name__ in kinds})


@dataclass(frozen=True)
class LoRA(Tuning):
    """Low-rank updates of linear layers (Hu et al., 2022).

    Args:
        r: Rank of each update.
        alpha: The update is scaled by alpha / r.
        dropout: Dropout before the down projection.
        targets: Last parts of the names of the layers to update, or `all-linear`.
        dora: Learn magnitude and direction apart (DoRA; Liu et al., 2024).
        rslora: Scale by alpha / sqrt(r) instead (rsLoRA; Kalajdzievski, 2023).
    """

    r: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: str | list[str] = "all-linear"
    dora: bool = False
    rslora: bool = False

    def __post_init__(self) -> None:
        if self.r < 1:
            raise UserError(f"model.tuning.r must be at least 1, got {self.r}")

    def apply(self, backbone: nn.Module) -> nn.Module:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft takes a float as well
            lora_dropout=self.dropout,
            target_modules=self.checked_targets(backbone),
            exclude_modules=r".*pooler.*",
            use_dora=self.dora,
            use_rslora=self.rslora,
        )
        return get_peft_model(backbone, config)  # type: ignore[arg-type]

    def checked_targets(self, backbone: nn.Module) -> str | list[str]:
        """The targets, once every one of them is known to name a layer."""
        if self.targets == "all-linear":
            return self.targets
        targets = [self.targets] if isinstance(self.targets, str) else list(self.targets)
        modules = [name for name, _ in backbone.named_modules()]
        lost = [t for t in targets if not any(m == t or m.endswith("." + t) for m in modules)]
        if lost or not targets:
            raise UserError(
                f"model.tuning.targets {lost} are not in {type(backbone).__name__}; "
                f"its linear layers end in {', '.join(linear_names(backbone))}"
            )
        return targets

    def merge(self, backbone: Any) -> nn.Module:
        return backbone.merge_and_unload()

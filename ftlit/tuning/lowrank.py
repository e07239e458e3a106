"""Low-rank methods, wrapping peft."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.tuning.base import at_least
from ftlit.tuning.layers import chosen_layers
from ftlit.tuning.peft_base import PeftTuning, is_transposed

SUMS = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # what peft's allocator of ranks remembers of each weight
Init = Literal["default", "gaussian", "orthogonal", "pissa", "olora"]


def check_dropout(dropout: float) -> None:
    """Refuse a share of dropout that is none."""
    if not 0 <= dropout < 1:
        raise UserError(f"model.tuning.dropout must be from 0 to below 1, got {dropout}")


@dataclass(frozen=True)
class LoRA(PeftTuning):
    """Low-rank updates of linear layers (Hu et al., 2022).

    Args:
        r: Rank of each update.
        alpha: The update is scaled by alpha / r.
        dropout: Dropout before the down projection.
        targets: Layers to update: `all-linear`, the last parts of their names, or regular expressions for whole names.
        layers: First and last layer to update, from 0 at the bottom, such as `[6, 11]`; null for all.
        dora: Learn magnitude and direction apart (DoRA; Liu et al., 2024).
        rslora: Scale by alpha / sqrt(r) instead (rsLoRA; Kalajdzievski, 2023).
        init: Where the update begins: at zero (`default`, `gaussian`, `orthogonal`), or with a part of the weight itself that
            is taken out of the frozen rest (`pissa`, Meng et al., 2024; `olora`, Buyukakyuz, 2024).
    """

    r: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: str | list[str] = "all-linear"
    layers: list[int] | None = None
    dora: bool = False
    rslora: bool = False
    init: Init = "default"

    def __post_init__(self) -> None:
        at_least("r", self.r, 1)
        check_dropout(self.dropout)

    @property
    def rewrites_frozen(self) -> bool:
        return self.init in ("pissa", "olora")

    def config(self, backbone: nn.Module) -> Any:
        from peft import LoraConfig

        if self.init == "olora" and is_transposed(backbone):
            name = type(backbone).__name__
            raise UserError(f"model.tuning.init olora does not fit the layers of {name}; use pissa or default")
        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft takes a float as well
            lora_dropout=self.dropout,
            target_modules=chosen_layers(backbone, self.targets, self.layers),
            fan_in_fan_out=is_transposed(backbone),
            use_dora=self.dora,
            use_rslora=self.rslora,
            init_lora_weights=True if self.init == "default" else self.init,
        )


@dataclass(frozen=True)
class QLoRA(LoRA):
    """LoRA on a backbone whose frozen weights have 4 bits (Dettmers et al., 2023); needs bitsandbytes.

    Args:
        double_quantization: Whether the scales of the quantization are quantized too.
    """

    double_quantization: bool = True

    def loading(self, heads: list[str]) -> dict[str, Any]:
        from importlib.util import find_spec

        if find_spec("bitsandbytes") is None:
            raise UserError(
                "model.tuning QLoRA keeps the backbone in 4 bits by bitsandbytes, which is not installed here: "
                'pip install "ftlit[quantized]", or use LoRA'
            )
        from transformers import BitsAndBytesConfig

        return {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                llm_int8_skip_modules=[*heads, r"(.*\.)?pooler"],  # new weights cannot be trained in 4 bits
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=self.double_quantization,
                bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
            )
        }

    def merge(self, backbone: Any) -> nn.Module:
        raise UserError(
            "model.tuning QLoRA cannot be merged without loss into weights of 4 bits; export the adapter with --adapter-only"
        )


@dataclass(frozen=True)
class AdaLoRA(PeftTuning):
    """LoRA whose ranks are dealt out during training to the layers that need them (Zhang et al., 2023).

    Args:
        r: Rank of an update on average in the end.
        initial_r: Rank of each update in the beginning, above `r`.
        alpha: The update is scaled by alpha / rank.
        dropout: Dropout before the down projection.
        targets: Layers to update, as in LoRA.
        layers: First and last layer to update, as in LoRA.
        begin_share: Share of all steps before ranks begin to fall.
        end_share: Share of all steps, at the end, in which ranks stay.
        every: Optimizer steps from one allocation of ranks to the next.
        orthogonality: Weight of the loss that keeps the projections orthogonal.
    """

    r: int = 8
    initial_r: int = 12
    alpha: float = 16
    dropout: float = 0.0
    targets: str | list[str] = "all-linear"
    layers: list[int] | None = None
    begin_share: float = 0.1
    end_share: float = 0.3
    every: int = 10
    orthogonality: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.r < self.initial_r:
            raise UserError(f"model.tuning.r must be from 1 to below initial_r ({self.initial_r}), got {self.r}")
        if not (self.begin_share >= 0 and self.end_share >= 0 and self.begin_share + self.end_share < 1):
            raise UserError(
                "model.tuning.begin_share and end_share must leave steps between them in which ranks fall, got "
                f"{self.begin_share} and {self.end_share}"
            )
        at_least("every", self.every, 1)
        at_least("orthogonality", self.orthogonality, 0)
        check_dropout(self.dropout)

    def config(self, backbone: nn.Module) -> Any:
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            target_r=self.r,
            init_r=self.initial_r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=chosen_layers(backbone, self.targets, self.layers),
            fan_in_fan_out=is_transposed(backbone),
            deltaT=self.every,
            orth_reg_weight=self.orthogonality,
            total_step=2,  # until `begin` knows them
        )

    def begin(self, backbone: Any, steps: int) -> None:
        config = backbone.peft_config["default"]
        config.total_step = steps
        config.tinit, config.tfinal = int(self.begin_share * steps), int(self.end_share * steps)
        self.load_state(backbone, self.state(backbone))  # which was read before the backbone went to its device

    def penalty(self, backbone: nn.Module) -> Tensor | None:
        """``orthogonality`` times the mean distance of the projections' Gram matrices from the identity."""
        grams = [
            weight @ weight.T if "lora_A" in name else weight.T @ weight
            for name, weight in backbone.named_parameters()
            if "lora_A" in name or "lora_B" in name
        ]
        distances = [torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device)) for gram in grams]
        return self.orthogonality * torch.stack(distances).mean()

    def after_step(self, backbone: Any, step: int) -> None:
        backbone.base_model.update_and_allocate(step)

    def state(self, backbone: Any) -> dict[str, Any]:
        ranks = backbone.base_model.rankallocator
        sums = {name: getattr(ranks, name) for name in SUMS}
        return {**sums, "rank_pattern": backbone.peft_config["default"].rank_pattern}

    def load_state(self, backbone: Any, state: dict[str, Any]) -> None:
        backbone.peft_config["default"].rank_pattern = state["rank_pattern"]
        for name in SUMS:
            sums = {weight: value.to(backbone.device) for weight, value in state[name].items()}
            setattr(backbone.base_model.rankallocator, name, sums)

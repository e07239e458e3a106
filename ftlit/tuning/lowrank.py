"""Low-rank methods of peft: LoRA, QLoRA and AdaLoRA."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.tuning.layers import chosen_layers
from ftlit.tuning.peft_base import PeftTuning, adapter_weights, is_transposed

IMPORTANCES = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # per-weight statistics of peft's rank allocator
Init = Literal["default", "gaussian", "orthogonal", "pissa", "olora"]


@dataclass(frozen=True)
class LoRA(PeftTuning):
    """Train low-rank updates of linear layers (Hu et al., 2022).

    Args:
        r: Rank of each update.
        alpha: Scaling numerator. Each update is multiplied by alpha / r.
        dropout: Dropout probability before the down projection.
        targets: Layers to update, given as `all-linear`, as last components of layer names, or as regular expressions that
            match full names.
        layers: First and last layer to update, counted from 0 at the bottom, such as `[6, 11]`. Null updates all layers.
        dora: Whether to learn magnitude and direction separately (DoRA; Liu et al., 2024).
        rslora: Whether to multiply by alpha / sqrt(r) instead (rsLoRA; Kalajdzievski, 2023).
        init: How updates are initialized. `default`, `gaussian` and `orthogonal` start from a zero update. `pissa` (Meng et
            al., 2024) and `olora` (Buyukakyuz, 2024) move a component of the pretrained weight into the update.
    """

    r: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: str | list[str] = "all-linear"
    layers: list[int] | None = None
    dora: bool = False
    rslora: bool = False
    init: Init = "default"

    @property
    def modifies_base_weights(self) -> bool:
        return self.init in ("pissa", "olora")

    def as_exported(self) -> "LoRA":
        """Return LoRA of twice the rank for `pissa` and `olora`: their change of the weights is that from their start."""
        if not self.modifies_base_weights:
            return self
        return replace(self, r=2 * self.r, alpha=self.alpha * (2**0.5 if self.rslora else 2), init="default")

    def apply(self, backbone: nn.Module) -> nn.Module:
        wrapped: Any = super().apply(backbone)
        if self.modifies_base_weights:
            wrapped.initial_adapter = adapter_weights(wrapped)
        return wrapped

    def config(self, backbone: nn.Module) -> Any:
        from peft import LoraConfig

        if self.init == "olora" and is_transposed(backbone):
            name = type(backbone).__name__
            raise UserError(f"model.tuning.init olora does not support the layers of {name}; use pissa or default")
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
    """Train LoRA on a backbone quantized to 4 bits (Dettmers et al., 2023). Requires bitsandbytes.

    Args:
        double_quantization: Whether to quantize the quantization constants too.
    """

    double_quantization: bool = True

    def loading(self, heads: list[str]) -> dict[str, Any]:
        from importlib.util import find_spec

        if find_spec("bitsandbytes") is None:
            raise UserError(
                "model.tuning QLoRA quantizes the backbone to 4 bits with bitsandbytes, which is not installed: run "
                'pip install "ftlit[quantized]", or use LoRA'
            )
        from transformers import BitsAndBytesConfig

        return {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                llm_int8_skip_modules=[*heads, r"(.*\.)?pooler"],  # newly initialized weights cannot train in 4 bits
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=self.double_quantization,
                bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
            )
        }

    def merge(self, backbone: Any) -> nn.Module:
        raise UserError(
            "model.tuning QLoRA cannot be merged into 4-bit weights without loss; export the adapter with --adapter-only"
        )


@dataclass(frozen=True)
class AdaLoRA(PeftTuning):
    """Train low-rank updates whose ranks are reallocated to the most important layers (Zhang et al., 2023).

    Args:
        r: Average rank of the updates at the end of training.
        init_r: Initial rank of each update. It must be above `r`.
        alpha: Scaling numerator. Each update is multiplied by alpha / rank.
        dropout: Dropout probability before the down projection.
        targets: Layers to update, given as in LoRA.
        layers: First and last layer to update, given as in LoRA.
        tinit: Number of initial optimizer steps with constant ranks. A value below 1 is a fraction of all steps.
        tfinal: Number of final optimizer steps with constant ranks. A value below 1 is a fraction of all steps.
        deltaT: Number of optimizer steps between two rank allocations.
        orthogonality: Weight of the loss term that keeps the projections orthogonal.
    """

    r: int = 8
    init_r: int = 12
    alpha: float = 16
    dropout: float = 0.0
    targets: str | list[str] = "all-linear"
    layers: list[int] | None = None
    tinit: float = 0.1
    tfinal: float = 0.3
    deltaT: int = 10  # noqa: N815  # as in peft
    orthogonality: float = 0.5

    def __post_init__(self) -> None:
        if self.r >= self.init_r:
            raise UserError(f"model.tuning.r must be below init_r ({self.init_r}), got {self.r}")
        for name in ("tinit", "tfinal"):
            value = getattr(self, name)
            if value >= 1 and value != int(value):
                raise UserError(f"model.tuning.{name} must be a number of optimizer steps or a fraction below 1, got {value}")
        if max(self.tinit, self.tfinal) < 1 <= self.tinit + self.tfinal:
            raise UserError(
                "model.tuning.tinit and tfinal must add up to less than 1, so that ranks are reduced between them, got "
                f"{self.tinit} and {self.tfinal}"
            )

    def config(self, backbone: nn.Module) -> Any:
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            target_r=self.r,
            init_r=self.init_r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=chosen_layers(backbone, self.targets, self.layers),
            fan_in_fan_out=is_transposed(backbone),
            deltaT=self.deltaT,
            orth_reg_weight=self.orthogonality,
            total_step=2,  # a placeholder until `begin`
        )

    def begin(self, backbone: Any, steps: int) -> None:
        config = backbone.peft_config["default"]
        config.total_step = steps
        first, last = self._constant_steps(steps)
        # `check_length` refuses a run that is too short, except for a trial run with fast_dev_run.
        config.tinit, config.tfinal = (first, last) if first + last < steps else (0, 0)
        self.load_state(backbone, self.state(backbone))  # moves tensors that were loaded before the backbone had its device

    def check_length(self, steps: int, epochs: int | None) -> None:
        first, last = self._constant_steps(steps)
        if first + last >= steps:
            raise UserError(
                f"model.tuning.tinit and tfinal take {first} and {last} of the run's {steps} optimizer steps, so that ranks "
                "would never be reduced; lower one of them, or train longer"
            )

    def _constant_steps(self, steps: int) -> tuple[int, int]:
        """Optimizer steps at the start and at the end of a run in which ranks are constant."""
        first, last = (int(t * steps) if t < 1 else int(t) for t in (self.tinit, self.tfinal))
        return first, last

    def penalty(self, backbone: nn.Module) -> Tensor | None:
        """Return ``orthogonality`` times the mean distance of the projections' Gram matrices from the identity."""
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
        allocator = backbone.base_model.rankallocator
        importances = {name: getattr(allocator, name) for name in IMPORTANCES}
        return {**importances, "rank_pattern": backbone.peft_config["default"].rank_pattern}

    def load_state(self, backbone: Any, state: dict[str, Any]) -> None:
        backbone.peft_config["default"].rank_pattern = state["rank_pattern"]
        for name in IMPORTANCES:
            values = {weight: value.to(backbone.device) for weight, value in state[name].items()}
            setattr(backbone.base_model.rankallocator, name, values)

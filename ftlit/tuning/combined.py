"""Several tuning methods on one backbone."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.tuning.base import Tuning
from ftlit.tuning.peft_base import PeftTuning
from ftlit.tuning.prompt_tuning import PromptMethod
from ftlit.tuning.prompted_backbone import PromptedBackbone
from ftlit.tuning.selective import Frozen
from ftlit.tuning.stages import Staged


@dataclass(frozen=True)
class Combined(Tuning):
    """Combine several methods, such as LoRA and BitFit. A weight trains if any of the methods trains it.

    Args:
        methods: The methods to combine. At most one of them may be a peft method and at most one a prompt method.
    """

    methods: list[Tuning]

    def __post_init__(self) -> None:
        names = [type(method).__name__ for method in self.methods]
        if len(self.methods) < 2:
            raise UserError(f"model.tuning.methods needs at least two methods, got {names}")
        for kind, title in ((PeftTuning, "peft methods"), (PromptMethod, "prompt methods")):
            if sum(isinstance(method, kind) for method in self.methods) > 1:
                raise UserError(f"model.tuning.methods {names} has two {title}; keep one of them")
        if any(isinstance(method, Staged) for method in self.methods):
            raise UserError(
                f"model.tuning.methods {names}: a method with stages cannot be combined; HeadFirst takes another method as "
                "model.tuning.then"
            )
        redundant = [m for m in self.methods if m.trains_everything or isinstance(m, (Frozen, Combined))]
        if redundant:
            name = type(redundant[0]).__name__
            raise UserError(f"model.tuning.methods {names}: {name} adds nothing to another method; remove it")

    @property
    def ordered(self) -> list[Tuning]:
        """The methods in the order in which they are applied: methods that wrap the backbone come last."""
        return sorted(self.methods, key=lambda method: 2 * isinstance(method, PromptMethod) + isinstance(method, PeftTuning))

    @property
    def tunes_pretrained_head(self) -> bool:  # type: ignore[override]
        return any(method.tunes_pretrained_head for method in self.methods)

    @property
    def modifies_base_weights(self) -> bool:
        return any(method.modifies_base_weights for method in self.methods)

    def as_exported(self) -> "Combined":
        return replace(self, methods=[method.as_exported() for method in self.methods])

    @property
    def positions(self) -> int:
        return sum(method.positions for method in self.methods)

    def loading(self, heads: list[str]) -> dict[str, Any]:
        return {key: value for method in self.methods for key, value in method.loading(heads).items()}

    def check(self, backbone: nn.Module) -> None:
        for method in self.ordered:
            method.check(backbone)

    def apply(self, backbone: nn.Module) -> nn.Module:
        learnable = [weight for weight in backbone.parameters() if weight.requires_grad]
        chosen: dict[int, nn.Parameter] = {}
        for method in self.ordered:
            for weight in learnable:  # each method selects from all weights, also from those that the previous one froze
                weight.requires_grad_(True)
            backbone = method.apply(backbone)
            chosen |= {id(weight): weight for weight in backbone.parameters() if weight.requires_grad}
        for weight in backbone.parameters():
            weight.requires_grad_(id(weight) in chosen)
        return backbone

    def merge(self, backbone: nn.Module) -> nn.Module:
        for method in reversed(self.ordered):
            backbone = method.merge(backbone)
        return backbone

    # Only peft methods act during training, and each needs the backbone as it wrapped it.

    def begin(self, backbone: Any, steps: int) -> None:
        for method in self.methods:
            method.begin(self._wrapped_by(method, backbone), steps)

    def check_length(self, steps: int, epochs: int | None) -> None:
        for method in self.methods:
            method.check_length(steps, epochs)

    def penalty(self, backbone: Any) -> Tensor | None:
        penalties = [method.penalty(self._wrapped_by(method, backbone)) for method in self.methods]
        terms = [value for value in penalties if value is not None]
        return torch.stack(terms).sum() if terms else None

    def after_step(self, backbone: Any, step: int) -> None:
        for method in self.methods:
            method.after_step(self._wrapped_by(method, backbone), step)

    def state(self, backbone: Any) -> dict[str, Any]:
        return {str(i): method.state(self._wrapped_by(method, backbone)) for i, method in enumerate(self.methods)}

    def load_state(self, backbone: Any, state: dict[str, Any]) -> None:
        for i, method in enumerate(self.methods):
            if state[str(i)]:
                method.load_state(self._wrapped_by(method, backbone), state[str(i)])

    def _wrapped_by(self, method: Tuning, backbone: Any) -> Any:
        """Return the backbone as a method wrapped it, without a prompt that was added afterwards."""
        return backbone.base if isinstance(backbone, PromptedBackbone) and not isinstance(method, PromptMethod) else backbone

"""Several methods on one backbone."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.tuning.base import Tuning
from ftlit.tuning.peft_base import PeftTuning
from ftlit.tuning.prompt_tuning import Learned, PromptMethod
from ftlit.tuning.selective import Frozen
from ftlit.tuning.stages import Staged


@dataclass(frozen=True)
class Both(Tuning):
    """Two or more methods together, such as LoRA and BitFit: what any of them trains, trains.

    Args:
        methods: The methods; at most one of peft's layers and one prompt among them.
    """

    methods: list[Tuning]

    def __post_init__(self) -> None:
        names = [type(method).__name__ for method in self.methods]
        if len(self.methods) < 2:
            raise UserError(f"model.tuning.methods needs two methods or more, got {names}")
        for kind, what in ((PeftTuning, "of peft's layers"), (PromptMethod, "with prompts")):
            if sum(isinstance(method, kind) for method in self.methods) > 1:
                raise UserError(f"model.tuning.methods {names} has two methods {what}; keep one of them")
        if any(isinstance(method, Staged) for method in self.methods):
            raise UserError(
                f"model.tuning.methods {names}: a method in stages goes with no other; HeadFirst takes one as model.tuning.then"
            )
        odd = [m for m in self.methods if m.trains_everything or isinstance(m, (Frozen, Both))]
        if odd:
            name = type(odd[0]).__name__
            raise UserError(f"model.tuning.methods {names}: {name} adds nothing to another method; leave it out")

    @property
    def ordered(self) -> list[Tuning]:
        """The methods in the order in which they are applied: those that wrap the backbone last."""
        return sorted(self.methods, key=lambda method: 2 * isinstance(method, PromptMethod) + isinstance(method, PeftTuning))

    @property
    def tunes_pretrained_head(self) -> bool:  # type: ignore[override]
        return any(method.tunes_pretrained_head for method in self.methods)

    @property
    def rewrites_frozen(self) -> bool:
        return any(method.rewrites_frozen for method in self.methods)

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
            for weight in learnable:  # a method chooses among all of them, whatever the one before left out
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

    # Only methods of peft act during training, and they see the backbone that they wrapped.

    def begin(self, backbone: Any, steps: int) -> None:
        for method in self.methods:
            method.begin(self._seen_by(method, backbone), steps)

    def penalty(self, backbone: Any) -> Tensor | None:
        found = [method.penalty(self._seen_by(method, backbone)) for method in self.methods]
        given = [value for value in found if value is not None]
        return torch.stack(given).sum() if given else None

    def after_step(self, backbone: Any, step: int) -> None:
        for method in self.methods:
            method.after_step(self._seen_by(method, backbone), step)

    def state(self, backbone: Any) -> dict[str, Any]:
        return {str(i): method.state(self._seen_by(method, backbone)) for i, method in enumerate(self.methods)}

    def load_state(self, backbone: Any, state: dict[str, Any]) -> None:
        for i, method in enumerate(self.methods):
            if state[str(i)]:
                method.load_state(self._seen_by(method, backbone), state[str(i)])

    def _seen_by(self, method: Tuning, backbone: Any) -> Any:
        """The backbone as it was after a method wrapped it: without the prompt that came later."""
        return backbone.base if isinstance(backbone, Learned) and not isinstance(method, PromptMethod) else backbone

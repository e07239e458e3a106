"""A model whose backbone a method tunes: what trains when, and checkpoints of what trained."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from ftlit.errors import UserError
from ftlit.runs.checkpoint import check_complete, check_trained, frozen_digest, trained_keys
from ftlit.tasks.shared.evaluated import Evaluated
from ftlit.tuning import Tuning
from ftlit.tuning.base import always_train, is_scheduled, is_trainable


class Tuned(Evaluated):
    """A model with a backbone and a tuning method.

    Args:
        tuning: Which weights of the backbone train.
    """

    pretrained_head: ClassVar[bool] = False  # whether the head is the language model's own, which tuning and init_from heed
    model: Any
    init_from: str | None

    def __init__(self, tuning: Tuning) -> None:
        super().__init__()
        self.tuning = tuning
        self._stage, self._waiting = 0, list[nn.Parameter]()

    @abstractmethod
    def build_model(self, config: dict[str, Any], **loading: Any) -> tuple[Any, list[nn.Parameter]]:
        """The model with its head before tuning, and its freshly initialised weights.

        Args:
            config: Changes to the backbone's configuration.
            **loading: Changes to how it is loaded.
        """

    # Building

    def check_tuning(self, config: dict[str, Any]) -> dict[str, Any]:
        """Refuse a method that does not fit the backbone, on its layers alone; give how it wants the weights to be loaded."""
        if type(self.tuning).check is Tuning.check:
            return {}
        with torch.device("meta"):
            skeleton = self.build_model(config, pretrained=False)[0]
        prefix = skeleton.base_model_prefix
        self.tuning.check(getattr(skeleton, prefix, skeleton))
        parts = [(name, part) for name, part in skeleton.named_children() if name != prefix]
        if not hasattr(skeleton, prefix):  # T5's head is a linear layer beside its stacks
            parts = [(name, part) for name, part in parts if isinstance(part, nn.Linear)]
        return self.tuning.loading([name for name, _ in parts])

    def apply_tuning(self, fresh: list[nn.Parameter]) -> None:
        """Let those weights train that the tuning method chooses, and the fresh ones."""
        self.replace_backbone(self.tuning.apply(self.backbone))
        if self.pretrained_head and not self.tuning.tunes_pretrained_head:
            inside = {id(weight) for weight in self.backbone.parameters()}
            for weight in self.model.parameters():
                weight.requires_grad_(weight.requires_grad and id(weight) in inside)
        for weight in fresh:
            always_train(weight)
        if not any(is_trainable(weight) and not is_scheduled(weight) for weight in self.model.parameters()):
            raise UserError(
                f"model.tuning {self.tuning} leaves nothing to train: {type(self.model).__name__} has no new head, since what "
                "gives its tokens is pretrained like the rest; use Full, TopLayers or LoRA"
            )

    def remember_weights(self) -> None:
        """Keep what checkpoints are compared with, once the module is whole."""
        self.frozen_digest = frozen_digest(self, self.tuning.modifies_base_weights)
        self.begun_keys = trained_keys(self)  # what a checkpoint must hold, whatever is done to the model later

    @property
    def backbone(self) -> nn.Module:
        """The tuned backbone inside the model; the model itself where nothing stands on it, as in T5."""
        return getattr(self.model, self.model.base_model_prefix, self.model)

    def replace_backbone(self, backbone: nn.Module) -> None:
        """Put another backbone in the place of the present one."""
        if hasattr(self.model, self.model.base_model_prefix):
            setattr(self.model, self.model.base_model_prefix, backbone)
        else:
            self.model = backbone

    # What trains when

    def setup(self, stage: str) -> None:
        self._enter(self._stage)  # once more, now that the number of devices is known

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        stage = self.tuning.stage(self.global_step, self.current_epoch)
        if stage != self._stage:
            self._enter(stage)

    def _enter(self, stage: int) -> None:
        self._stage = stage
        self.tuning.set_stage(self.backbone, stage)
        self._waiting = [weight for weight in self.parameters() if is_scheduled(weight)]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for weight in self._waiting:  # on several devices they have a gradient nevertheless
            weight.grad = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        self.tuning.after_step(self.backbone, step)

    # Checkpoints hold the trained weights only; the frozen ones come from the backbone again.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        keys = trained_keys(self)
        check_complete(self.begun_keys, keys & checkpoint["state_dict"].keys())
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in keys}
        checkpoint["frozen_digest"] = self.frozen_digest
        checkpoint["tuning_state"] = self.tuning.state(self.backbone)
        if not all(torch.isfinite(w).all() for w in checkpoint["state_dict"].values() if w.is_floating_point()):
            raise UserError(f"weights are no longer finite at step {self.global_step}; no checkpoint of them was written")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if state := checkpoint.get("tuning_state"):
            self.tuning.load_state(self.backbone, state)
        check_trained(self, *self._differences(checkpoint["state_dict"]), self.tuning)
        if checkpoint.get("frozen_digest", self.frozen_digest) != self.frozen_digest:
            raise UserError(
                f"the checkpoint holds only trained weights, and the frozen weights of model.backbone "
                f"{self.hparams['backbone']!r} are not those that it was trained on; give the same backbone"
                + (f", and the same model.init_from as {self.init_from!r} was then" if self.init_from else "")
            )

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        check_trained(self, *self._differences(state_dict), self.tuning)
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def _differences(self, state_dict: Any) -> tuple[list[str], list[str]]:
        shapes = {name: weight.shape for name, weight in self.state_dict().items()}
        fitting = {name for name, weight in state_dict.items() if shapes.get(name) == weight.shape}
        return sorted(shapes.keys() - fitting), sorted(state_dict.keys() - fitting)

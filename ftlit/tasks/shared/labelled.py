"""What tasks with a list of labels share: their names, and class weights from how often they occur in train."""

from typing import Any, ClassVar

from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from ftlit.losses import CrossEntropy, Loss
from ftlit.runs.checkpoint import check_labels
from ftlit.tasks.shared.base import TaskModule


class Labelled(TaskModule):
    """A task whose answers are labels of a list.

    Args:
        label_names: Taken from the data: the labels in the order of their ids.
        label_counts: Taken from the data: what of train has each label, then all of it.
    """

    weighted: ClassVar[bool] = True
    class_weights: Tensor | None

    def __init__(self, label_names: list[str] | None = None, label_counts: list[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_names = label_names or []
        self.register_buffer("class_weights", self._weights(label_counts), persistent=False)

    def _weights(self, label_counts: list[int] | None) -> Tensor | None:
        """The weight of each class; data without train have no counts, and wait for those of the checkpoint."""
        *counts, every = label_counts or [0] * (len(self.label_names) + 1)
        return self.loss.weights(counts, every)

    def adopt(self, **config: Any) -> None:
        names = dict(enumerate(self.label_names))
        label2id = {name: i for i, name in names.items()}
        super().adopt(num_labels=len(names), id2label=names, label2id=label2id, **config)

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        check_labels(checkpoint, self.label_names)
        known = checkpoint.get("hyper_parameters", {}).get("label_counts")
        if known and self._trainer is not None and self.trainer.state.fn != TrainerFn.FITTING:
            self.class_weights = self._weights(known)  # an evaluation on other data weighs as training did

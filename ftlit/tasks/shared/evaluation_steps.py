"""The evaluation of a task as Lightning calls it."""

from typing import Any

from lightning import LightningModule


class EvaluationSteps(LightningModule):
    """Hands each batch of an evaluation to the evaluator of its split."""

    evaluators: Any

    @property
    def is_fitting(self) -> bool:
        """Whether this evaluation is part of training."""
        return self.trainer.state.fn == "fit"

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.evaluators["val"].update(self, batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.evaluators["test"].update(self, batch)

    def on_validation_epoch_end(self) -> None:
        self.evaluators["val"].finish(self)

    def on_test_epoch_end(self) -> None:
        self.evaluators["test"].finish(self)

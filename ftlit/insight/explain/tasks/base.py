"""What all tasks share: from rows to examples, and from examples to the outputs that are explained."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import Predictor
from ftlit.exports.predicting.sizes import Sizes
from ftlit.insight.explain.examples import Example, batch_of

Row = dict[str, Any]
MOST_OUTPUTS = 32  # of one row that are explained, where each word or written token is one


class View(ABC):
    """How the predictions of a task are explained.

    Args:
        predictor: The finished run.
        label: The label that is explained, or None for what is predicted.
        sizes: How rows are cut into batches to predict for them.

    Raises:
        UserError: The task does not have this label.
    """

    writes: ClassVar[bool] = False  # whether the task writes texts with a decoder
    has_chances: ClassVar[bool] = True  # whether outputs have probabilities; numbers have not
    output: ClassVar[str] = "the logit of the label"  # what is attributed to words

    def __init__(self, predictor: Predictor, label: str | None, sizes: Sizes) -> None:
        self.predictor, self.label, self.sizes = predictor, label, sizes
        self.model: Any = predictor.model
        self.data: Any = predictor.data
        self.check_label()

    def check_label(self) -> None:
        """Check that the task has the label that is asked for; by default it has none.

        Raises:
            UserError: It has not.
        """
        if self.label is not None:
            raise UserError(f"--label {self.label!r}: {type(self.model).__name__} predicts no labels; leave it out")

    @abstractmethod
    def examples(self, rows: Sequence[Row]) -> list[Example]:
        """Return what is explained of some rows, in their order.

        Args:
            rows: Rows of `Predictor.row`.
        """

    @abstractmethod
    def measure(self, inputs: dict[str, Tensor], aims: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the output of each example, and its probability or number, ``(examples,)`` each.

        Args:
            inputs: Inputs of the model.
            aims: The aims of the examples.
        """

    @torch.no_grad()
    def measured(self, examples: Sequence[Example]) -> list[float]:
        """Return the outputs of some examples."""
        batch = batch_of(examples, self.data.pad_token_id, self.predictor.device)
        return self.measure(batch.inputs, batch.aims)[0].tolist()


def picked(logits: Tensor, places: Tensor) -> Tensor:
    """Return the number at one place of each row, ``(rows,)``, of ``(rows, places)``."""
    return logits.gather(1, places.unsqueeze(1)).squeeze(1)


def input_features(columns: dict[str, list[Any]], i: int, *more: str) -> dict[str, list[int]]:
    """Return the inputs of the model at a position of encoded columns."""
    return {name: columns[name][i] for name in ("input_ids", "token_type_ids", *more) if name in columns}

"""Batches of several sizes, for which what was traced must return the outputs of the run."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports import verify
from ftlit.exports.traced.tracing import stretched
from ftlit.tasks import TaskModule

LONGEST = 1024  # tokens of the longest text that is compared
VOCABULARY_ROWS = 2  # rows of validation for language models, whose logits are large
Batch = dict[str, Any]
Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Cases:
    """Batches of several sizes, and the outputs of the run for them.

    Args:
        rows: Rows of validation.
        tokens: Token ids of these rows.
        inputs: Arguments of the model for each batch.
        outputs: Outputs of the model for each batch.
    """

    rows: dict[str, list[Any]]
    tokens: list[Any]
    inputs: list[dict[str, Tensor]]
    outputs: list[Outputs]

    def scaled(self, mean: float, deviation: float) -> "Cases":
        """The cases of a regression whose outputs are in the unit of the target."""
        if (mean, deviation) == (0.0, 1.0):
            return self
        return replace(self, outputs=[{name: v * deviation + mean for name, v in found.items()} for found in self.outputs])


def reference_cases(task: TaskModule, data: TaskData) -> Cases:
    """Compute the outputs of a run for rows of validation, before anything is merged.

    They are computed for all rows together, one and three of them, one row of the greatest length up to 1024 tokens, and texts
    of one token.

    Raises:
        UserError: If the data cannot be read.
    """
    split = verify.validation_rows(data, VOCABULARY_ROWS if task.pretrained_head else verify.ROWS)
    names = (data.input_columns() | data.optional_columns()).values()
    rows = {name: split[name][:] if name in split.column_names else [None] * len(split) for name in names}
    columns = data.encode_inputs(rows)
    whole = _arguments(task, data.collate(columns))
    shapes = [tuple(whole["input_ids"].shape), (1, whole["input_ids"].shape[1]), (3, whole["input_ids"].shape[1])]
    if all(value.shape == shapes[0] for value in whole.values()):  # no positions of entities, which must be in the text
        shapes += [(1, 1), (3, 1), (2, 7)]
    cases = [stretched(whole, *shape) for shape in (*shapes, (1, min(data.max_length, LONGEST)))]
    return Cases(rows, columns["input_ids"], cases, [outputs_of(task, case) for case in cases])


def _arguments(task: TaskModule, batch: Batch) -> dict[str, Tensor]:
    """Return what a task passes to its model."""
    passed: dict[str, Any] = {}
    handle = task.model.register_forward_pre_hook(lambda _, args, kwargs: passed.update(kwargs), with_kwargs=True)
    with torch.inference_mode():
        task(batch)
    handle.remove()
    return {name: value for name, value in passed.items() if isinstance(value, Tensor)}


def outputs_of(task: TaskModule, inputs: dict[str, Tensor]) -> Outputs:
    """Return the outputs of a task's model that are logits, by their names."""
    with torch.inference_mode():
        found = task.model(**inputs)
    values = found if isinstance(found, dict) else vars(found)
    return {name: value.float().cpu() for name, value in values.items() if name.endswith("logits")}


def verify_opened(expected: Cases, task: TaskModule, data: TaskData) -> float:
    """Compare the tokens and outputs of the task that `ftlit.load` opens with those of the run."""
    if data.encode_inputs(expected.rows)["input_ids"] != expected.tokens:
        raise UserError("the exported tokenizer returns other tokens than that of the run")
    return compare("ftlit.load", [outputs_of(task, case) for case in expected.inputs], expected)


def compare(where: str, found: list[Outputs], expected: Cases) -> float:
    """Compare outputs for all cases with those of the run, and return the largest difference.

    Raises:
        UserError: If it is above the tolerance.
    """
    pairs = zip(found, expected.outputs, strict=True)
    return max(verify.check_difference(where, outputs, right, "float32") for outputs, right in pairs)

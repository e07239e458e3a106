"""Data of text regression."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ftlit.data.rows.cells import number
from ftlit.data.shared.text import TextData

if TYPE_CHECKING:
    from datasets import Dataset


class TextRegressionData(TextData):
    """Texts or pairs of texts with a number each."""

    label_dtype = torch.float64  # 16777217 is not a number of single precision

    @cached_property
    def label_scale(self) -> list[float]:
        """Mean and standard deviation of the target in train."""
        if "train" not in self.rows:
            return [0.0, 1.0]
        values = np.array([float(value) for value in self.rows["train"][self.label]])
        return [float(values.mean()), float(values.std()) or 1.0]

    def validate_label(self, value: Any) -> str | None:
        found = number(value)
        finite = found is not None and math.isfinite(found)
        return None if finite else f"column {self.label!r} holds {value!r}, not a number"

    def majority(self, rows: "Dataset") -> dict[str, Any] | None:
        values = np.array([float(value) for value in rows[self.label][:]])
        return {"answer": float(values.mean()), "mse": float(values.var())}

    def reference(self, row: dict[str, Any]) -> float:
        return float(row[self.label])

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**self.encode_inputs(columns), "labels": [float(value) for value in columns[self.label]]}

"""The data of the task: reviews with their stars."""

from typing import Any

from ftlit.data.shared.base import TaskData


class StarsData(TaskData):
    """Texts with a number of stars each."""

    def input_columns(self) -> dict[str, str]:
        return {"text": "text"}

    def columns(self) -> dict[str, str]:
        return {"text": "text", "stars": "stars"}

    def validate_row(self, row: dict[str, Any]) -> str | None:
        return self.validate_inputs(row) or (None if str(row["stars"]).isdecimal() else "column 'stars' holds no whole number")

    def reference(self, row: dict[str, Any]) -> int:
        return int(row["stars"])

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return self.tokenize(columns["text"])

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**self.encode_inputs(columns), "labels": [int(stars) for stars in columns["stars"]]}

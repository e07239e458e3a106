"""The text columns of classification and regression."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from ftlit.data.rows.augment import Augmentation, augment_rows
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset


class TextData(TaskData):
    """Rows with a text or a pair of texts, and a label.

    Args:
        text: Column of the text.
        text_pair: Column of the second text of a pair.
        label: Column of the label.
        augment: Augmentations of the training texts, applied one after the other: RandomDeletion, RandomSwap,
            SynonymReplacement, TokenMasking, BackTranslation.
        augmented_copies: Number of augmented copies of each training row that are added.
    """

    def __init__(
        self,
        text: str = "text",
        text_pair: str | None = None,
        label: str = "label",
        augment: list[Augmentation] | None = None,
        augmented_copies: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if augmented_copies != 1 and not augment:
            raise UserError("data.augmented_copies is the number of copies that data.augment makes, which is not set")
        self.text, self.text_pair, self.label = text, text_pair, label
        self.augment, self.augmented_copies = augment or [], augmented_copies

    def augment_train(self, train: "Dataset") -> "Dataset":
        if not self.augment:
            return train
        columns, mask = list(self.input_columns().values()), self.tokenizer.mask_token
        rows = augment_rows(train, columns, self.augment, self.augmented_copies, self.seed, mask)
        self.modification_counts["augmented copies"] = len(rows) - len(train)
        return rows

    def input_columns(self) -> dict[str, str]:
        return {"text": self.text} | ({"text_pair": self.text_pair} if self.text_pair else {})

    def columns(self) -> dict[str, str]:
        return {**self.input_columns(), "label": self.label}

    def validate_row(self, row: dict[str, Any]) -> str | None:
        return self.validate_inputs(row) or self.validate_label(row[self.label])

    @abstractmethod
    def validate_label(self, value: Any) -> str | None:
        """What is wrong with a label, or None."""

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return self.tokenize(columns[self.text], columns[self.text_pair] if self.text_pair else None)

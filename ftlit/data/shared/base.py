"""What every data module shares beyond its rows: from rows to features to batches."""

from abc import abstractmethod
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from ftlit.data.batches.batching import EvaluationBatches, Examples, MicroBatch, ResumableLoader, TrainBatches
from ftlit.data.batches.collate import PADDING, collate
from ftlit.data.rows.task_rows import TaskRows
from ftlit.data.shared.unlabelled import Unlabelled, unlabelled_texts
from ftlit.data.text.encoding import encoded, source_of, tokenize, tokenizer_state
from ftlit.errors import UserError
from ftlit.util.private import rows_hash

if TYPE_CHECKING:
    from datasets import Dataset


class TaskData(TaskRows):
    """The splits of a data set, encoded for a backbone."""

    # What a task defines

    label_dtype: ClassVar[torch.dtype] = torch.long
    padding: ClassVar[dict[str, int]] = PADDING  # what fills up each column of tokens beside input_ids
    metadata: ClassVar[tuple[str, ...]] = ()  # columns of features that the task gets as they are

    @abstractmethod
    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Features of new rows: ``input_ids``, other model inputs of the same lengths, and ``truncated``.

        A row may become several features: the column ``row`` then tells from which of the given rows each comes.
        """

    @abstractmethod
    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Features of rows with ``labels``, and ``loss_weights`` where examples count differently in the loss."""

    def counts(self, split: str) -> dict[str, int]:
        """Findings of an encoded split for the report, such as answers lost to truncation."""
        return self.made if split == "train" else {}

    # Encoding

    def _check_room(self) -> None:
        special = self.tokenizer.num_special_tokens_to_add(pair=len(self.input_columns()) > 1)
        if self.max_length <= special:
            raise UserError(
                f"data.max_length should be above {special}, the number of special tokens that the tokenizer of "
                f"{self.backbone!r} adds, got {self.max_length}"
            )

    def require_offsets(self) -> None:
        """Check that the tokenizer tells where in a text its tokens stand.

        Raises:
            UserError: It does not, as those written in Python.
        """
        if not self.tokenizer.is_fast:
            raise UserError(
                f"the tokenizer of {self.backbone!r} does not tell where in a text its tokens stand, "
                f"which {type(self).__name__} needs; take another model.backbone"
            )

    def setup(self, stage: str | None = None) -> None:
        """Encode the splits, or take them from the cache of `datasets`."""
        self._check_room()
        for split, rows in self.rows.items():
            if split not in self.encoded:
                self.encoded[split] = self.encode_split(rows)

    def encode_split(self, rows: "Dataset") -> "Dataset":
        """The features of a split, from the cache where the same were made before."""
        return encoded(rows, self.encode, [self._tokenizer_state, *self.encoding_settings()])

    @cached_property
    def _encoding(self) -> str:
        """A hash of all that `encode` depends on beside the rows."""
        from datasets.fingerprint import Hasher

        return Hasher.hash([self._tokenizer_state, *self.encoding_settings()])

    @cached_property
    def _tokenizer_state(self) -> str:
        return tokenizer_state(self.tokenizer)  # before its first use, which changes its truncation

    def encoding_settings(self) -> list[Any]:
        """All that `encode` depends on beside the rows and the tokenizer, for the cache's key."""
        return [type(self).__name__, *source_of(type(self)), self.columns(), self.max_length]

    def tokenize(self, texts: list[str], pairs: list[str] | None = None) -> dict[str, list[Any]]:
        """Model inputs of texts or pairs, truncated to ``max_length``, and whether each was.

        Returns:
            Columns ``input_ids``, ``token_type_ids`` where the model has them, and ``truncated``.
        """
        return tokenize(self.tokenizer, self.max_length, texts, pairs)

    # Batches

    def lengths(self, split: str) -> np.ndarray:
        """Tokens of each example of an encoded split, ``(examples,)``."""
        import pyarrow.compute as pc

        rows = self.encoded[split].with_format("arrow")
        return pc.list_value_length(rows["input_ids"][:]).to_numpy()

    def loss_weights(self, split: str) -> np.ndarray | None:
        """What each example of an encoded split counts in the mean of the loss, or None where each counts 1."""
        rows = self.encoded[split]
        return np.array(rows["loss_weights"][:], dtype=float) if "loss_weights" in rows.column_names else None

    def collate(self, columns: dict[str, list[Any]], batch: MicroBatch | None = None) -> dict[str, Any]:
        """The tensors of a batch, from columns of features.

        Args:
            columns: Features as `encode` or `encode_inputs` gives them.
            batch: Which examples these are; None for new rows.
        """
        return collate(columns, self.pad_token_id, self.label_dtype, self.padding, self.metadata)

    @cached_property
    def unlabelled(self) -> Unlabelled | None:
        """The texts without labels, where there are any."""
        if self.unlabelled_source is None:
            return None
        settings = [self._tokenizer_state, self.max_length]
        texts = unlabelled_texts(self.unlabelled_source, self.unlabelled_column, self.tokenize, settings)
        return Unlabelled(texts, len(self.encoded["train"]), self.order_seed)

    def _collate(self, fetched: Any) -> dict[str, Any]:
        columns, batch = fetched
        if batch.epoch is not None and self.unlabelled is not None:
            return {**self._collated(columns, batch), "unlabelled": collate(self.unlabelled.columns(batch), self.pad_token_id)}
        return self._collated(columns, batch)

    def _collated(self, columns: dict[str, list[Any]], batch: MicroBatch) -> dict[str, Any]:
        marks = {"ids": columns["row"], "feature_ids": batch.indices}
        tensors = {name: torch.tensor(values) for name, values in marks.items()}
        return {**self.collate(columns, batch), **tensors, "loss_denominator": batch.loss_denominator}

    def check_batches(self, splits: list[str]) -> None:
        """Refuse splits with a text that no batch can hold."""
        for split in splits:
            self.batching.size(np.sort(self.lengths(split)))

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        assert trainer is not None
        batches = TrainBatches(
            self.batching,
            self.lengths("train"),
            self.order_seed,
            lambda: trainer.current_epoch,
            trainer.global_rank,
            trainer.world_size,
            trainer.accumulate_grad_batches,
            self.loss_weights("train"),
        )
        return self._loader("train", batches)

    def order(self, trainer: Any) -> dict[str, str]:
        """All that decides which examples an optimizer step takes, for comparing a resumed run with its beginning."""
        texts = f" and {rows_hash(self.unlabelled.features)}" if self.unlabelled else ""
        return {
            "the training data": self.fingerprints["train"] + texts,
            "the encoding of the data": self._encoding,
            "data.batching": str(self.batching),
            "seed_everything": str(self.order_seed),
            "data.max_length": str(self.max_length),
            "trainer.accumulate_grad_batches": str(trainer.accumulate_grad_batches),
            "the number of devices": str(trainer.world_size),
        }

    def evaluation_dataloader(self, split: str) -> DataLoader[Any]:
        """The batches of a split that this rank evaluates."""
        self.require([split])
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return self._loader(split, EvaluationBatches(self.batching, self.lengths(split), rank, world))

    def val_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_dataloader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_dataloader("test")

    def _loader(self, split: str, batches: Any) -> DataLoader[Any]:
        kind: type[DataLoader[Any]] = ResumableLoader if split == "train" else DataLoader
        alone = copy(self)  # what is sent to worker processes, where these are not forked
        alone.trainer = None
        if split == "train":
            alone.unlabelled = self.unlabelled  # made once
        return kind(
            Examples(self.encoded[split]),  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=alone._collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0 and split != "train",
            generator=torch.Generator().manual_seed(self.order_seed),  # keeps the global random state out of it
        )

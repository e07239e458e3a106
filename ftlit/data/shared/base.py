"""The base of all data modules: a data set becomes rows, features and batches."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from ftlit.data.batches.batching import Batching, EvaluationBatches, LengthGrouped, MicroBatch
from ftlit.data.batches.collate import collate
from ftlit.data.batches.loaders import make_loader, train_batches
from ftlit.data.replay.mixture import Replay
from ftlit.data.rows.checks import checked_length
from ftlit.data.rows.splits import SplitRows
from ftlit.data.shared.hooks import TaskHooks
from ftlit.data.shared.unlabelled import Unlabelled, unlabelled_texts
from ftlit.data.text.encoding import Encoder, source_of
from ftlit.data.text.lengths import most_tokens
from ftlit.models.backbones import load_config, load_tokenizer
from ftlit.models.checks.positions import max_positions
from ftlit.util.options import Effect, option, options_of
from ftlit.util.private import rows_hash

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

# Arguments that a task may take from its data; the command line links each of them to the task's option of the same name.
TASK_ARGUMENTS = [name for name, option in options_of("model").items() if option.source == "data"]


class TaskData(LightningDataModule, TaskHooks):
    """The splits of a data set, encoded for a backbone.

    Args:
        dataset: Hub name, file, folder with files named by split, `package:<module>/<path>`, or `module:function`.
        backbone: Taken from the model: its tokenizer is used.
        config_name: Configuration of a hub data set, such as `sst2` of `glue`.
        splits: The source's own names of train, validation and test, where they differ; null leaves a split out (without a
            validation split, validation is cut from train).
        max_length: Number of tokens after which a text is truncated; by default the model's limit, at most 512.
        batching: How batches are made: LengthGrouped, Shuffled or TokenBudget.
        limit_train: Number of rows of train to use, drawn at random.
        limit_validation: Number of rows of validation to use, drawn at random.
        limit_test: Number of rows of test to use, drawn at random.
        shots: Number of training rows to use of each class, drawn at random.
        validation_share: Share of train that becomes validation if the source has no validation split.
        seed: Seed of the cut of validation, the limits and the shots; it does not change with the run's seed.
        order_seed: Taken from seed_everything: seed of the order of training.
        num_workers: Number of processes that prepare batches.
        on_bad_rows: Whether a row with an empty text or a broken label stops the run, or is dropped and counted.
        pad_token: Token to pad with if the tokenizer has none.
        trust_remote_code: Taken from the model.
        reserved_positions: Taken from the model: number of positions that its tuning method needs for itself.
        unlabelled: More texts for model.auxiliary or teacher, named like dataset: each training example comes with one of them.
        unlabelled_column: Column of their text.
        group: Column that is the same in rows of one document. The intervals of a run's scores then draw whole documents.
        cache_limit: Gigabytes of the disk that stored values may take; see model.trunk_cache and model.teacher_cache.
        revision: Branch, tag or commit of a data set on the hub.
        exclude: File with the ids of train rows to leave out, such as the label_errors.jsonl of `ftlit errors`.
        folds: Number of parts of train for cross-validation. One of them is validation, in place of that of the source.
        fold: Which part is validation, from 0.
        replay: Adds rows of an earlier run, against forgetting: Replay.
        test_share: Share of train that becomes test if the source has no test split; null cuts none.
    """

    def __init__(
        self,
        dataset: str,
        backbone: str,
        config_name: str | None = None,
        splits: dict[str, str | None] | None = None,
        max_length: int | None = None,
        batching: Batching = LengthGrouped(),
        limit_train: int | None = None,
        limit_validation: int | None = None,
        limit_test: int | None = None,
        shots: int | None = None,
        validation_share: float = 0.1,
        seed: int = 0,
        order_seed: int = 0,
        num_workers: int = 0,
        on_bad_rows: Literal["error", "drop"] = "error",
        pad_token: str | None = None,
        trust_remote_code: bool = False,
        reserved_positions: int = 0,
        unlabelled: str | None = None,
        unlabelled_column: str = "text",
        group: str | None = None,
        cache_limit: float = 10.0,
        revision: str | None = None,
        exclude: str | None = None,
        folds: int | None = None,
        fold: int = 0,
        replay: Replay | None = None,
        test_share: float | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.dataset, self.backbone, self.pad_token, self.trust_remote_code = dataset, backbone, pad_token, trust_remote_code
        limit = max_positions(load_config(backbone, trust_remote_code))
        self.reserved_positions, self.replay, self.test_share = reserved_positions, replay, test_share
        self.max_length = checked_length(max_length, self.default_max_length, limit, reserved_positions, backbone)
        self.batching, self.num_workers, self.seed, self.order_seed = batching, num_workers, seed, order_seed
        self.unlabelled_source, self.unlabelled_column, self.group = unlabelled, unlabelled_column, group
        limits = {"train": limit_train, "validation": limit_validation, "test": limit_test}
        drawn = (limits, shots, validation_share, seed)
        self.rows = SplitRows(self, dataset, config_name, splits, *drawn, on_bad_rows, revision, exclude, (folds, fold))
        self.modification_counts: dict[str, int] = {}  # what `augment_train` did, for the report
        self.encoded: dict[str, Dataset] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "trainer": None}  # worker processes that are not forked get a pickled copy

    # What a task may define, beside its hooks

    def encoding_settings(self) -> list[Any]:
        """Everything that `encode` depends on beside the rows and the tokenizer, for the key of the cache."""
        own = [type(self).__name__, *source_of(type(self)), self.columns()]
        return [*own, self.option_values("encoding"), *self.encoding_state()]

    def encoding_state(self) -> list[Any]:
        """What `encode` depends on beside options, rows and the tokenizer, such as a chat template."""
        return []

    def option_values(self, effect: Effect) -> dict[str, Any]:
        """The options with an effect, by name; the value is that of the attribute of the same name if there is one."""
        chosen = [name for name in self.hparams if effect in option(f"data.{name}").affects]
        return {name: getattr(self, name, self.hparams[name]) for name in sorted(chosen)}

    def counts(self, split: str) -> dict[str, int]:
        """Findings about an encoded split for the report, such as answers lost to truncation."""
        return self.modification_counts if split == "train" else {}

    def names(self, split: str, ids: list[int]) -> list[str]:
        """Names of examples in messages, by their positions in the split."""
        return self.rows[split].select(ids)["row_id"][:]

    def record_at(self, split: str, i: int) -> dict[str, Any]:
        """What is written beside the prediction of the example at a position of a split."""
        row = self.rows[split][i]
        return self.record(row) | ({"group": row[self.group]} if self.group else {})

    # What others need

    def task_arguments(self) -> dict[str, Any]:
        """Arguments of the task that follow from its data, such as ``label_names``."""
        return {name: getattr(self, name) for name in TASK_ARGUMENTS if hasattr(self, name)}

    def require(self, splits: list[str]) -> None:
        """Check that the data set has all of these splits.

        Raises:
            UserError: If a split is missing.
        """
        self.rows.require(splits)

    @property
    def fingerprints(self) -> dict[str, str]:
        """A hash of the content of each split; it does not depend on where the rows came from."""
        return self.rows.fingerprints

    def resume_signature(self, trainer: Any) -> dict[str, str]:
        """Everything that decides which examples an optimizer step uses; a resumed run must have the same."""
        texts = f" and {rows_hash(self.unlabelled.features)}" if self.unlabelled else ""
        options = {option(f"data.{name}").source or f"data.{name}": str(v) for name, v in self.option_values("order").items()}
        return {
            "the training data": self.fingerprints["train"] + texts,
            "the encoding of the data": self._encoding,
            **options,
            "trainer.accumulate_grad_batches": str(trainer.accumulate_grad_batches),
            "the number of devices": str(trainer.world_size),
        }

    # Encoding

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The backbone's tokenizer."""
        return load_tokenizer(self.backbone, self.pad_token, self.trust_remote_code)

    @property
    def pad_token_id(self) -> int:
        """Id of the padding token."""
        return self.tokenizer.pad_token_id  # type: ignore[return-value]

    @cached_property
    def encoder(self) -> Encoder:
        """The tokenizer with `max_length` and the cache of encoded splits."""
        return Encoder(self.tokenizer, self.max_length)

    @cached_property
    def _encoding(self) -> str:
        return self.encoder.digest(self.encoding_settings())

    def tokenize(
        self, texts: list[str], pairs: list[str] | None = None, parts: tuple[str, ...] = ("text", "text_pair")
    ) -> dict[str, list[Any]]:
        """The columns ``input_ids``, ``token_type_ids`` if the model has them, and ``truncated`` of texts or pairs.

        Args:
            texts: The texts.
            pairs: The second texts of pairs.
            parts: Names of the first and the second texts in the report.
        """
        return self.encoder.tokenize(texts, pairs, parts)

    def setup(self, stage: str | None = None) -> None:
        """Encode the splits, or read them from the cache of `datasets`."""
        self.encoder.check_room(len(self.input_columns()) > 1, self.backbone)
        for split, rows in self.rows.items():
            if split not in self.encoded:
                self.encoded[split] = self.encode_split(rows)

    def encode_split(self, rows: "Dataset") -> "Dataset":
        """The features of a split."""
        return self.encoder.encode(rows, self.encode, self.encoding_settings())

    # Batches

    def lengths(self, split: str) -> np.ndarray:
        """Number of tokens of each example of an encoded split, ``(examples,)``."""
        import pyarrow.compute as pc

        rows = self.encoded[split].with_format("arrow")
        return pc.list_value_length(rows["input_ids"][:]).to_numpy()

    def longest_text(self) -> int:
        """Number of tokens of the longest text that training reads, where choices and texts without labels count as texts."""
        return most_tokens([self.encoded["train"], *([self.unlabelled.features] if self.unlabelled else [])])

    def text_lengths(self, split: str) -> dict[str, dict[str, Any]]:
        """Lengths of the texts of a split before anything is cut off, for each part of them, such as source and target."""
        found = self.encoder.lengths.get(rows_hash(self.rows[split]))
        parts = found.parts if found else {}
        return {name: part.summary(getattr(self, part.option) if part.option else None) for name, part in parts.items()}

    def loss_weights(self, split: str) -> np.ndarray | None:
        """Weight of each example of an encoded split in the mean loss, or None if all weigh 1."""
        rows = self.encoded[split]
        return np.array(rows["loss_weights"][:], dtype=float) if "loss_weights" in rows.column_names else None

    def collate(self, columns: dict[str, list[Any]], batch: MicroBatch | None = None) -> dict[str, Any]:
        """The tensors of a batch.

        Args:
            columns: Columns of features, from `encode` or `encode_inputs`.
            batch: Which examples these are; None for new rows.
        """
        return collate(columns, self.pad_token_id, self.label_dtype, self.padding, self.metadata)

    @cached_property
    def unlabelled(self) -> Unlabelled | None:
        """The texts without labels, or None if the config names none."""
        if self.unlabelled_source is None:
            return None
        texts = unlabelled_texts(self.unlabelled_source, self.unlabelled_column, self.encoder)
        return Unlabelled(texts, len(self.encoded["train"]), self.order_seed)

    def unlabelled_batch(self, positions: list[int]) -> dict[str, Any]:
        """A batch of texts without labels, by their positions among them."""
        assert self.unlabelled is not None
        own = {"feature_ids": torch.tensor(positions), "split": "unlabelled"}
        return {**collate(self.unlabelled.features[positions], self.pad_token_id), **own}

    def _collate(self, fetched: tuple[dict[str, list[Any]], MicroBatch]) -> dict[str, Any]:
        columns, batch = fetched
        made = {
            **self.collate(columns, batch),
            "ids": torch.tensor(columns["row"]),
            "feature_ids": torch.tensor(batch.indices),
            "loss_denominator": batch.loss_denominator,
        }
        if batch.epoch is not None and self.unlabelled is not None:
            made["unlabelled"] = self.unlabelled_batch(self.unlabelled.positions(batch))
        return made

    def check_batches(self, splits: list[str]) -> None:
        """Raise a `UserError` if a split has a text that does not fit into a batch."""
        for split in splits:
            self.batching.eval_batch_sizes(np.sort(self.lengths(split)))

    def train_dataloader(self) -> DataLoader[Any]:
        _ = self.unlabelled  # encoded here once, instead of in every worker
        return make_loader(self, "train", train_batches(self, self.trainer))

    def evaluation_dataloader(self, split: str) -> DataLoader[Any]:
        """The batches of a split that this rank evaluates."""
        self.require([split])
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return make_loader(self, split, EvaluationBatches(self.batching, self.lengths(split), rank, world))

    def val_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_dataloader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_dataloader("test")

"""What every data module does with rows: read them, check them, and choose those of each split."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lightning import LightningDataModule

from ftlit.data.batches.batching import Batching, LengthGrouped
from ftlit.data.rows.checks import check_least, check_share
from ftlit.data.rows.class_labels import under_one_list
from ftlit.data.rows.rows import checked, fingerprint, row_place, text_problem
from ftlit.data.rows.subsets import cut, limit, shots
from ftlit.data.sources.load import load_splits
from ftlit.errors import UserError
from ftlit.models.backbones import load_config, load_tokenizer, max_positions

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from ftlit.data.sources.formats import Reader

LONGEST_DEFAULT = 512


class TaskRows(LightningDataModule, ABC):
    """The rows of each split of a data set.

    Args:
        dataset: Hub name, file, folder with files named by split, `package:<module>/<path>`, or `module:function`.
        backbone: Taken from the model: whose tokenizer is used.
        config_name: Configuration of a hub data set, such as `sst2` of `glue`.
        splits: The source's own names of train, validation and test, where they differ; null leaves one out (where that is
            validation, it is cut from train).
        max_length: Tokens after which a text is truncated; by default the model's limit, at most 512.
        batching: How batches are made: LengthGrouped, Shuffled or TokenBudget.
        limit_train: Number of rows of train to use, drawn at random.
        limit_validation: Number of rows of validation to use, drawn at random.
        limit_test: Number of rows of test to use, drawn at random.
        shots: Rows of each class to use of train, drawn at random.
        validation_share: Share of train that becomes validation where the source has none.
        seed: Decides the cut of validation, the limits and the shots; it does not change with the run's seed.
        order_seed: Taken from seed_everything: decides the order of training.
        num_workers: Processes that prepare batches.
        on_bad_rows: Whether a row with an empty text or a broken label stops the run or is dropped and counted.
        pad_token: Token to pad with where the tokenizer has none.
        trust_remote_code: Taken from the model.
        reserved_positions: Taken from the model: positions that its tuning method needs for itself.
        unlabelled: More texts for model.auxiliary, named like dataset: each training example comes with one of them.
        unlabelled_column: Column of their text.
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
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        check_least(1, max_length=max_length, shots=shots)
        check_least(1, limit_train=limit_train, limit_validation=limit_validation, limit_test=limit_test)
        check_least(0, num_workers=num_workers)
        check_share(validation_share=validation_share)
        self.dataset, self.config_name, self.split_names = dataset, config_name, splits
        self.backbone, self.pad_token, self.trust_remote_code = backbone, pad_token, trust_remote_code
        self.batching, self.num_workers = batching, num_workers
        self.limits = {"train": limit_train, "validation": limit_validation, "test": limit_test}
        self.reserved_positions = reserved_positions
        self.shots, self.validation_share, self.seed, self.order_seed = shots, validation_share, seed, order_seed
        self.on_bad_rows = on_bad_rows
        self.unlabelled_source, self.unlabelled_column = unlabelled, unlabelled_column
        self.max_length = self._checked_length(max_length)
        self.dropped: dict[str, list[str]] = {}
        self.made: dict[str, int] = {}  # what `varied` did, for the report
        self.encoded: dict[str, Dataset] = {}

    # What a task defines

    readers: ClassVar[dict[str, "Reader"]] = {}  # of local files by ending, where not the usual ones

    @abstractmethod
    def input_columns(self) -> dict[str, str]:
        """The column that each key of the config selects, such as ``{"text": "sentence"}``: those that new rows need."""

    @abstractmethod
    def columns(self) -> dict[str, str]:
        """The same with the columns of the right answers."""

    def input_problem(self, row: dict[str, Any]) -> str | None:
        """What is wrong with a row that has no answer yet, or None: by default a column that holds no text."""
        return next((found for column in self.input_columns().values() if (found := text_problem(row, column))), None)

    @abstractmethod
    def problem(self, row: dict[str, Any]) -> str | None:
        """What is wrong with a row, or None."""

    def row_of(self, text: str) -> dict[str, Any] | None:
        """A row made of a plain text that somebody typed, or None where one text is not enough."""
        columns = list(self.input_columns().values())
        return {columns[0]: text} if len(columns) == 1 else None

    def joined_texts(self, rows: "Dataset") -> list[str]:
        """The whole text of each row, for finding duplicates: by default that of its input columns."""
        columns = [rows[column] for column in self.input_columns().values()]
        return ["\n".join(texts) for texts in zip(*columns, strict=True)]

    def classes(self, rows: "Dataset") -> list[Any] | None:
        """The class of each row for stratifying, or None."""
        return None

    def balance(self, rows: "Dataset") -> dict[str, int] | None:
        """Rows of each label, most frequent first, or None."""
        return None

    @abstractmethod
    def reference(self, row: dict[str, Any]) -> Any:
        """The right answer of a row, as it stands beside the prediction."""

    def shown(self, row: dict[str, Any]) -> dict[str, Any]:
        """How a row stands beside its prediction: id, inputs, and the right answer as ``label``."""
        inputs = {column: row[column] for column in self.input_columns().values() if column in row}
        return {"id": row["row_id"], **inputs, "label": self.reference(row)}

    def shown_at(self, split: str, i: int) -> dict[str, Any]:
        """How the row at a position of a split stands beside its prediction."""
        return self.shown(self.rows[split][i])

    def names(self, split: str, ids: list[int]) -> list[str]:
        """The ids of examples for a message, by their positions in the split."""
        return self.rows[split].select(ids)["row_id"][:]

    def varied(self, train: "Dataset") -> "Dataset":
        """The rows of train with augmentation, label noise and the like, where the config asks for them."""
        return train

    def check_splits(self, splits: dict[str, "Dataset"]) -> None:
        """Refuse splits that the task cannot learn from or be measured on."""

    # From the source to checked rows

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The backbone's tokenizer."""
        return load_tokenizer(self.backbone, self.pad_token, self.trust_remote_code)

    @property
    def pad_token_id(self) -> int:
        """Id of the pad token, for models that look for it."""
        return self.tokenizer.pad_token_id  # type: ignore[return-value]

    @cached_property
    def source_rows(self) -> dict[str, "Dataset"]:
        """The splits as they come, with their rows' ids, the columns in use, and no bad rows."""
        return {split: self._checked(split, rows) for split, rows in self._raw.items()}

    @cached_property
    def _raw(self) -> dict[str, "Dataset"]:
        splits = load_splits(self.dataset, self.config_name, self.split_names, self.readers)
        return under_one_list(splits, self.columns().values())

    @cached_property
    def rows(self) -> dict[str, "Dataset"]:
        """The splits in use: validation cut from train where there is none, limits and shots applied."""
        splits = dict(self.source_rows)
        if "train" in splits and "validation" not in splits:
            train = splits["train"]
            stay, off = cut(self.classes(train), len(train), self.validation_share, self.seed)
            if not stay or not off:
                raise UserError(f"data.dataset {self.dataset!r} has {len(train)} rows, too few to cut validation from")
            splits |= {"train": train.select(stay), "validation": train.select(off)}
        if self.shots is not None and "train" in splits:
            classes = self.classes(splits["train"])
            if classes is None:
                raise UserError(f"data.shots takes rows of each class, and {type(self).__name__} has none; use limit_train")
            splits["train"] = splits["train"].select(shots(classes, self.shots, self.seed))
        for split, count in self.limits.items():
            if count is not None and split in splits and count < len(splits[split]):
                splits[split] = splits[split].select(limit(len(splits[split]), count, self.seed))
        self.check_splits(splits)
        if "train" in splits:
            splits["train"] = self.varied(splits["train"])
        return splits

    def _checked(self, split: str, rows: "Dataset") -> "Dataset":
        kept, bad = checked(rows, f"{self.dataset}: {split}", self.columns(), self.problem)
        if bad and self.on_bad_rows == "error":
            raise UserError(f"{bad[0]}; mend the row, or set data.on_bad_rows: drop")
        if bad and not len(kept):
            raise UserError(f"{self.dataset}: {split} has no good row; the first of its {len(bad)} bad ones: {bad[0]}")
        if bad:
            self.dropped[split] = bad
        return kept

    def row_place(self, row_id: str) -> str:
        """Where the row of an id stands in the source, for a message."""
        split = row_id.partition(":")[0]
        return row_place(row_id, "id" in self._raw[split].column_names)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """A hash of each split's content, blind to where it came from."""
        return {split: fingerprint(rows) for split, rows in self.rows.items()}

    def require(self, splits: list[str]) -> None:
        """Check that the data have these splits.

        Raises:
            UserError: One is missing.
        """
        for split in splits:
            if split not in self.rows:
                raise UserError(
                    f"data.dataset {self.dataset!r} has no {split} split; it has {', '.join(self.rows)} "
                    "(data.splits names splits that are called otherwise)"
                )

    def _checked_length(self, wanted: int | None) -> int:
        limit = max_positions(load_config(self.backbone, self.trust_remote_code))
        if limit is not None and self.reserved_positions:
            limit -= self.reserved_positions
        if wanted is not None and limit is not None and wanted > limit:
            own = f", since model.tuning takes {self.reserved_positions} for itself" if self.reserved_positions else ""
            raise UserError(f"data.max_length is {wanted}, but {self.backbone!r} takes at most {limit} tokens{own}")
        return wanted or min(limit or LONGEST_DEFAULT, LONGEST_DEFAULT)

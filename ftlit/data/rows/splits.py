"""The splits of a data set, from the source to the rows in use."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ftlit.data.replay.earlier import EARLIER
from ftlit.data.rows.excluded import without_listed
from ftlit.data.rows.rows import cached_fingerprint, checked, has_own_ids, row_place
from ftlit.data.rows.subsets import fold_numbers, shots, split_off, subsample
from ftlit.data.sources.load import commit_of_rows, load_source
from ftlit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from ftlit.data.shared.hooks import TaskHooks


class SplitRows(Mapping[str, "Dataset"]):
    """The rows in use of each split, by the split's name; they are read and checked on first access.

    Args:
        hooks: What the task says about its rows.
        dataset: Name of the source, as in `load_source`.
        config_name: Configuration of a hub data set.
        split_names: The source's own names of the splits.
        limits: Number of rows to draw from each split; None keeps all.
        shots: Number of training rows to draw from each class; None keeps all.
        validation_share: Share of train that becomes validation if the source has no validation split.
        seed: Seed of all draws.
        on_bad_rows: Whether a row that fails its check raises an error or is dropped.
        revision: Revision of a hub data set.
        exclude: File that lists training rows to leave out.
        folds: Number of folds of train, and the fold that becomes validation, from 0; None and 0 for the source's validation.

    Attributes:
        excluded: Number of training rows in use that the file has left out, once the rows have been read.
    """

    def __init__(
        self,
        hooks: "TaskHooks",
        dataset: str,
        config_name: str | None,
        split_names: dict[str, str | None] | None,
        limits: dict[str, int | None],
        shots: int | None,
        validation_share: float,
        seed: int,
        on_bad_rows: Literal["error", "drop"],
        revision: str | None = None,
        exclude: str | None = None,
        folds: tuple[int | None, int] = (None, 0),
    ) -> None:
        self.hooks, self.dataset, self.config_name, self.split_names = hooks, dataset, config_name, split_names
        self.limits, self.shots, self.validation_share = limits, shots, validation_share
        self.seed, self.on_bad_rows = seed, on_bad_rows
        self.revision, self.dropped = revision, dict[str, list[str]]()
        self.exclude, self.excluded = exclude, 0
        self.folds = _checked_folds(*folds)
        self._own_ids: dict[str, bool] = {}
        self.replayed: dict[str, Any] = {}  # what was added of an earlier run, known once the rows have been read
        self._unused: list[str] = []  # known once `raw` has been read

    def __getitem__(self, split: str) -> "Dataset":
        return self._used[split]

    def __contains__(self, split: object) -> bool:
        return split in self._used  # the inherited method would take a KeyError while reading for a missing split

    def __iter__(self) -> Iterator[str]:
        return iter(self._used)

    def __len__(self) -> int:
        return len(self._used)

    @property
    def description(self) -> str:
        """The name of the source, and what it holds beside the splits."""
        unused = f" (not used of it: {', '.join(self._unused)})" if self.raw and self._unused else ""
        return f"{self.dataset}{unused}"

    @cached_property
    def raw(self) -> dict[str, "Dataset"]:
        """The splits as they come from the source, with all columns and unchecked rows."""
        self._check_columns()
        splits, self._unused = load_source(
            self.dataset, self.config_name, self.split_names, self.hooks.readers, revision=self.revision
        )
        return self.hooks.prepare_splits(splits)

    def _check_columns(self) -> None:
        """Check that no column has two roles, such as the text and its label."""
        options: dict[str, str] = {}
        for option, column in self.hooks.columns().items():
            if column in options:
                raise UserError(f"data.{options[column]} and data.{option} are both the column {column!r}; change one of them")
            options[column] = option

    @cached_property
    def commit(self) -> str | None:
        """The commit of a data set on the hub; None for local files."""
        return next((found for rows in self.raw.values() if (found := commit_of_rows(rows))), None)

    @cached_property
    def source(self) -> dict[str, "Dataset"]:
        """The splits of the source with checked rows: the columns in use and ``row_id``."""
        return {split: self._checked(split, rows) for split, rows in self.raw.items()}

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """A hash of the content of each split; it does not depend on where the rows came from."""
        return {split: cached_fingerprint(rows) for split, rows in self.items()}

    def place_of(self, row_id: str) -> str:
        """Where a row is found in the source, for error messages."""
        split, _, name = row_id.partition(":")
        if split == EARLIER:
            return f"{name} of the earlier run"
        if split not in self._own_ids:
            self._own_ids[split] = has_own_ids(self.raw[split])
        return row_place(row_id, self._own_ids[split])

    def require(self, splits: list[str]) -> None:
        """Check that the data set has all of these splits.

        Raises:
            UserError: If a split is missing.
        """
        for split in splits:
            if split not in self:
                raise UserError(
                    f"data.dataset {self.dataset!r} has no {split} split; it has {', '.join(self)} "
                    "(data.splits names splits that are called otherwise)"
                )

    def _checked(self, split: str, rows: "Dataset") -> "Dataset":
        place, columns = f"{self.dataset}: {split}", self.hooks.columns()
        hints = dict.fromkeys(columns.keys() - self.hooks.input_columns().keys(), without_answers(split))
        optional = {key: name for key, name in self.hooks.optional_columns().items() if name in rows.column_names}
        optional |= {"group": self.hooks.group} if self.hooks.group else {}
        validate = self.hooks.validate_row if split == "train" else self.hooks.validate_held_out_row
        kept, bad = checked(rows, place, columns | optional, validate, hints)
        if bad and self.on_bad_rows == "error":
            advice = without_answers(split) if hints and len(bad) == len(rows) else ""
            raise UserError(f"{bad[0]}; fix the row, or set data.on_bad_rows: drop. {advice}".removesuffix(". "))
        if bad and not len(kept):
            raise UserError(f"{place} has no good row; the first of its {len(bad)} bad ones: {bad[0]}")
        if bad:
            self.dropped[split] = bad
        return kept

    @cached_property
    def _used(self) -> dict[str, "Dataset"]:
        cut = self._with_validation(self._with_test(dict(self.source)))
        splits = self._without_excluded(self._limited(self._with_shots(cut)))
        if self.hooks.replay is not None and "train" in splits:
            splits, self.replayed = self.hooks.replay.mixed(self.hooks, splits)  # type: ignore[arg-type]
        self.hooks.check_splits(splits)
        return splits | ({"train": self.hooks.augment_train(splits["train"])} if "train" in splits else {})

    def _with_test(self, splits: dict[str, "Dataset"]) -> dict[str, "Dataset"]:
        share = self.hooks.test_share
        return self._with_cut(splits, "test", share) if share is not None else splits

    def _with_validation(self, splits: dict[str, "Dataset"]) -> dict[str, "Dataset"]:
        if self.folds and "train" in splits:
            return self._with_fold(splits, *self.folds)
        return self._with_cut(splits, "validation", self.validation_share)

    def _with_cut(self, splits: dict[str, "Dataset"], split: str, share: float) -> dict[str, "Dataset"]:
        """The splits with a share of train as another one, unless they have it or there is no train."""
        if "train" not in splits or split in splits:
            return splits
        train = splits["train"]
        stay, off = split_off(self.hooks.classes(train), len(train), share, self.seed)
        if not stay or not off:
            raise UserError(f"data.dataset {self.dataset!r} has {len(train)} rows, too few to cut {split} from")
        return splits | {"train": train.select(stay), split: train.select(off)}

    def _with_fold(self, splits: dict[str, "Dataset"], folds: int, fold: int) -> dict[str, "Dataset"]:
        train, group = splits["train"], self.hooks.group
        documents = None if group is None else train[group][:]
        if (pieces := len(train) if documents is None else len(set(documents))) < folds:
            raise UserError(f"data.folds is {folds}, but train has {pieces} {'rows' if documents is None else 'documents'}")
        numbers = fold_numbers(self.hooks.classes(train), documents, len(train), folds, self.seed)
        stay, off = np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)
        return splits | {"train": train.select(stay), "validation": train.select(off)}

    def _with_shots(self, splits: dict[str, "Dataset"]) -> dict[str, "Dataset"]:
        if self.shots is None or "train" not in splits:
            return splits
        classes = self.hooks.classes(splits["train"])
        if classes is None:
            name = type(self.hooks).__name__
            raise UserError(f"data.shots takes rows of each class, and {name} has none; use limit_train")
        return splits | {"train": splits["train"].select(shots(classes, self.shots, self.seed))}

    def _limited(self, splits: dict[str, "Dataset"]) -> dict[str, "Dataset"]:
        for split, count in self.limits.items():
            if count is not None and split in splits and count < len(splits[split]):
                splits[split] = splits[split].select(subsample(len(splits[split]), count, self.seed))
        return splits

    def _without_excluded(self, splits: dict[str, "Dataset"]) -> dict[str, "Dataset"]:
        """The splits without listed rows of train, last of all, so that limits and shots draw the same rows as without."""
        if self.exclude is None or "train" not in splits:
            return splits
        kept = without_listed(splits["train"], set(self.source["train"]["row_id"][:]), self.exclude)
        self.excluded = len(splits["train"]) - len(kept)
        return splits | {"train": kept}


def _checked_folds(folds: int | None, fold: int) -> tuple[int, int] | None:
    if folds is None and fold:
        raise UserError(f"data.fold is {fold}, but there are no data.folds; set their number, such as 5")
    if folds is not None and fold >= folds:
        raise UserError(f"data.fold is {fold}, but data.folds {folds} has the folds 0 to {folds - 1}")
    return None if folds is None else (folds, fold)


def without_answers(split: str) -> str:
    """What to do about a split without right answers; empty for train, which needs them."""
    return "" if split == "train" else f"If {split} has no right answers, leave it out with data.splits: {{{split}: null}}"

"""Rows of an earlier run among the new ones, against forgetting."""

from typing import TYPE_CHECKING, Any, ClassVar

from ftlit.data.replay.choice import Way, evenly, hardest
from ftlit.data.replay.earlier import earlier_data, earlier_rows
from ftlit.data.rows.rows import cached_fingerprint
from ftlit.data.rows.subsets import subsample
from ftlit.errors import UserError
from ftlit.util.arguments.checked import CheckedArguments

if TYPE_CHECKING:
    from datasets import Dataset

    from ftlit.data.shared.base import TaskData


class Replay(metaclass=CheckedArguments):
    """Adds rows of an earlier run to the new ones, so that both are trained on (experience replay; Ratcliff, 1990).

    Args:
        run: Folder of the earlier run, of the same task. Its columns may have other names.
        share: Share of its rows in the whole of train. If it has fewer, all of them are taken.
        by: Which rows of its train split: `random` ones, as many of each label (`balanced`), or those in whose label the
            earlier run has least confidence (`hard`), by the predictions of train that `ftlit update` writes to it.
        validation: Whether validation gets rows of its validation split too, in the same share and at random. Otherwise new
            rows alone decide the best checkpoint.
    """

    config_key: ClassVar[str] = "data.replay"

    def __init__(self, run: str, share: float = 0.2, by: Way = "random", validation: bool = True) -> None:
        self.run, self.share, self.by, self.validation = run, share, by, validation

    def mixed(self, own: "TaskData", splits: dict[str, "Dataset"]) -> tuple[dict[str, "Dataset"], dict[str, Any]]:
        """Return the splits with the rows of the earlier run after those in them, and what was added, for the record.

        Args:
            own: The data to which rows are added.
            splits: The rows of train and validation.

        Raises:
            UserError: There is no such run, or its rows do not fit.
        """
        earlier = earlier_data(self.run, "data.replay.run", own.trust_remote_code)
        wanted = [split for split in ("train", *(["validation"] if self.validation else [])) if split in splits]
        added: dict[str, Any] = {"run": self.run, "share": self.share, "by": self.by, "rows": {}, "of": {}, "fingerprints": {}}
        for split in wanted:
            found = earlier_rows(earlier, self.run, own, split, "data.replay.run")
            count = round(self.share / (1 - self.share) * len(splits[split]))
            chosen = self._chosen(earlier, split, min(count, len(found)), own.seed)
            more = found.select(chosen)
            splits = {**splits, split: joined(own, splits[split], more)}
            added["rows"][split], added["of"][split] = len(more), len(found)
            added["fingerprints"][split] = cached_fingerprint(more)
        return splits, added

    def _chosen(self, earlier: "TaskData", split: str, count: int, seed: int) -> list[int]:
        """Positions of rows of the earlier run, in order."""
        rows = earlier.rows[split]
        if self.by == "hard" and split == "train":
            return sorted(hardest(self.run, rows["row_id"][:])[:count])
        if self.by == "balanced":
            classes = earlier.classes(rows)
            if classes is None:
                name = type(earlier).__name__
                raise UserError(f"data.replay.by is balanced, but rows of {name} have no classes; use random")
            return evenly(classes, count, seed)
        return subsample(len(rows), count, seed)


def joined(own: "TaskData", rows: "Dataset", more: "Dataset") -> "Dataset":
    """Rows one after the other, with the columns of the first.

    Args:
        own: The data of the first rows.
        rows: The first rows.
        more: Rows with answers by name.

    Raises:
        UserError: The columns hold values of different types.
    """
    import pyarrow as pa
    from datasets import concatenate_datasets

    if not _same_types(rows, more):
        rows = own.with_named_answers(rows)
    for column in set(rows.column_names) - set(more.column_names):
        more = more.add_column(column, [None] * len(more))
    try:
        return concatenate_datasets([rows, more.select_columns(rows.column_names).cast(rows.features)])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
        raise UserError(f"data.replay: the rows of the earlier run hold other types of values than these: {error}") from error


def _same_types(rows: "Dataset", more: "Dataset") -> bool:
    return all(rows.features[name] == more.features[name] for name in rows.column_names if name in more.column_names)

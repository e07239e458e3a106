"""The file metrics.csv: every logged value by step and epoch."""

import csv
import io
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ftlit.errors import UserError
from ftlit.runs.files import LAST, METRICS
from ftlit.runs.reading import metric_rows
from ftlit.util.files import write_text


class MetricsFile(Logger):
    """Logs to ``metrics.csv`` in the run folder. A resumed run keeps the rows up to its checkpoint.

    Args:
        run_dir: The run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.path = run_dir / METRICS
        self.rows: list[dict[str, str]] = []
        self._saved = 0  # number of rows in the file

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the config is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({"step": str(step), **{key: repr(value) for key, value in metrics.items()}})

    @rank_zero_only
    def truncate(self, count: int) -> None:
        """Keep only the first `count` rows of the file, which were logged before the checkpoint of a resumed run."""
        self.rows, self._saved = rows_before(self.path, count), 0

    @rank_zero_only
    def save(self) -> None:
        if not self.rows or (len(self.rows) == self._saved and self.path.is_file()):
            return
        first = ["step", "epoch"]
        columns = first + sorted({key for row in self.rows for key in row} - set(first))
        out = io.StringIO()
        table = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_text(self.path, out.getvalue())
        self._saved = len(self.rows)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        with suppress(UserError) if status == "failed" else nullcontext():  # the first error counts
            self.save()


def rows_before(path: Path, count: int) -> list[dict[str, str]]:
    """The first `count` rows of a metrics.csv.

    Raises:
        UserError: The file is damaged, or has fewer rows.
    """
    rows = metric_rows(path)
    if len(rows) < count:
        raise UserError(
            f"{path} has {len(rows)} of the {count} rows that were logged before {LAST}; restore it from a copy, or continue "
            f"in another --run_dir with --ckpt_path {path.parent / LAST}"
        )
    return rows[:count]

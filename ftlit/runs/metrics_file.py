"""The file metrics.csv: every logged value by step and epoch."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ftlit.runs.files import METRICS
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
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]
            self.rows = rows[:count]

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        first = ["step", "epoch"]
        columns = first + sorted({key for row in self.rows for key in row} - set(first))
        out = io.StringIO()
        table = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_text(self.path, out.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

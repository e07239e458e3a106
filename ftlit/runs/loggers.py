"""Send the config, results and samples of a run to experiment trackers such as Weights & Biases."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ftlit.runs.metrics_file import MetricsFile
from ftlit.util.private import continue_wandb_run


def continue_tracking(loggers: list[Logger], record: dict[str, Any]) -> None:
    """Let Weights & Biases continue the run that a run.json names."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and (known := record.get("wandb")):
            continue_wandb_run(logger, known["id"])


def tracked_run(loggers: list[Logger]) -> dict[str, Any] | None:
    """The id and the address of the run in Weights & Biases, for run.json; the address is None if it is offline."""
    run = next((logger.experiment for logger in loggers if isinstance(logger, WandbLogger)), None)
    return {"id": run.id, "url": run.url} if run is not None else None


@rank_zero_only
def send_config(loggers: list[Logger], config: dict[str, Any]) -> None:
    """Send the resolved config to every logger."""
    for logger in loggers:
        logger.log_hyperparams(config)


@rank_zero_only
def send_efficiency(loggers: list[Logger], efficiency: dict[str, Any], step: int) -> None:
    """Send the cost of a run: to Weights & Biases as its summary, to other loggers as metrics of the last step."""
    values = {f"efficiency/{name}": value for name, value in efficiency.items() if value is not None}
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(values)
        elif not isinstance(logger, MetricsFile):  # metrics.csv is the same in every repetition
            logger.log_metrics(values, step=step)


@rank_zero_only
def send_report(loggers: list[Logger], split: str, report: dict[str, Any], files: list[Path]) -> None:
    """Send per-class scores and the confusion matrix to Weights & Biases."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and "per_class" in report:
            rows = report["per_class"]
            logger.log_table(f"{split}/per_class", columns=list(rows[0]), data=[list(row.values()) for row in rows])
            if pictures := [str(file) for file in files if file.suffix == ".png"]:
                logger.log_image(f"{split}/confusion", pictures)


@rank_zero_only
def send_samples(loggers: list[Logger], split: str, rows: list[dict[str, Any]]) -> None:
    """Send a few examples with their predictions to Weights & Biases as a table."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and rows:
            logger.log_table(f"{split}/samples", columns=list(rows[0]), data=[[str(v) for v in row.values()] for row in rows])

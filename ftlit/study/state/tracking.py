"""Weights & Biases runs of cells: grouped by study, and labelled with arm and seed."""

import sys
from typing import Any

from ftlit.study.plan.cells import Cell
from ftlit.util.settings import value_at, with_value, with_values


def is_wandb(logger: Any) -> bool:
    """Whether a logger in a config is a WandbLogger."""
    name = logger.get("class_path") if isinstance(logger, dict) else logger
    return isinstance(name, str) and name.rsplit(".", 1)[-1] == "WandbLogger"


def grouped(cell: Cell, study: str) -> dict[str, Any]:
    """The config of a cell in which each WandbLogger knows its study; other loggers do not change."""
    loggers = value_at(cell.config, "trainer.logger")
    if isinstance(loggers, list):
        return with_value(cell.config, "trainer.logger", [_grouped(logger, cell, study) for logger in loggers])
    return with_value(cell.config, "trainer.logger", _grouped(loggers, cell, study)) if is_wandb(loggers) else cell.config


def _grouped(logger: Any, cell: Cell, study: str) -> Any:
    if not is_wandb(logger):
        return logger
    facts = {"study": study, "arm": cell.arm.name, **cell.arm.levels, "seed": cell.seed, "final": cell.final, **cell.chosen}
    own = {"group": study, "name": cell.title}
    own = {key: value for key, value in own.items() if value_at(logger, key) is None}
    return {**with_values(logger, own), "dict_kwargs": {"config": facts, **(value_at(logger, "dict_kwargs") or {})}}


def end_tracking() -> None:
    """Flush what Weights & Biases has buffered, since the process of a cell exits without running its exit hooks."""
    if (wandb := sys.modules.get("wandb")) is not None and wandb.run is not None:
        wandb.finish()

"""Send the report to Weights & Biases, next to the runs of the study."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftlit.study.plan.cells import Plan
from ftlit.study.state.tracking import is_wandb


def logger_settings(plan: Plan) -> dict[str, Any] | None:
    """The ``init_args`` of the first WandbLogger in a config of the study, or None."""
    for config in [*plan.study.bases.values(), *(arm.config for arm in plan.arms)]:
        given = (config.get("trainer") or {}).get("logger")
        for logger in given if isinstance(given, list) else [given]:
            if is_wandb(logger):
                return dict(logger.get("init_args") or {}) if isinstance(logger, dict) else {}
    return None


def send(plan: Plan, files: Sequence[Path]) -> None:
    """Log the files as an artifact of a run in the study's group, if its cells are logged to Weights & Biases."""
    settings = logger_settings(plan)
    if settings is None:
        return
    import wandb

    name, folder = plan.study.name, Path(settings.get("save_dir") or plan.study.folder)
    mode: Any = "offline" if settings.get("offline") else None  # otherwise the environment decides
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            project=settings.get("project"), entity=settings.get("entity"), group=settings.get("group") or name,
            job_type="report", name=f"{name} report", dir=str(folder), mode=mode,
            settings=wandb.Settings(silent=True),
        )  # fmt: skip
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{name}-report"), type="report")
        for file in files:
            artifact.add_file(str(file))
        run.log_artifact(artifact)
        run.finish()
    except wandb.errors.Error as error:
        print(f"the report was written, but could not be sent to Weights & Biases: {error}")

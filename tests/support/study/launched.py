"""A study of six short cells, run by any launcher, and what came of it."""

from pathlib import Path
from typing import Any

import yaml

from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import read_study
from ftlit.study.state.folder import Folder


def six_cells(path: Path, model: str, data: str, **launch: Any) -> Plan:
    """Two tuning methods with three seeds each, one thread a cell.

    Args:
        path: Where its file and its folder go.
        model: Folder of the backbone.
        data: Folder of the texts.
        launch: The section `launch` of the file.
    """
    base = {
        "evaluate_untrained": False,
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "model": {"class_path": "TextClassification", "init_args": {
            "backbone": model, "optimizer": {"class_path": "AdamW", "init_args": {"lr": 1e-3}},
        }},
        "data": {"class_path": "TextClassificationData", "init_args": {"dataset": data}},
    }  # fmt: skip
    study = {
        "base": base,
        "axes": {"tuning": {"full": {"model.tuning": "Full"}, "probe": {"model.tuning": "Frozen"}}},
        "seeds": 3,
        "compare": {"metric": "accuracy", "baseline": "full"},
        "folder": str(path / "study"),
        "launch": {"threads": 1, **launch},
    }
    path.mkdir(parents=True, exist_ok=True)
    file = path / "six.yaml"
    file.write_text(yaml.safe_dump(study))
    return Plan(read_study(file))


def opened(plan: Plan) -> Folder:
    """The folder of a study, made."""
    folder = Folder(plan.study.folder)
    folder.open(plan.study, plan.study.folder.parent / "six.yaml")
    return folder


def results(plan: Plan, folder: Folder) -> str:
    """Its results.csv: every metric of every finished cell, to the last bit."""
    from ftlit.study.report.content.numbers import gather
    from ftlit.study.report.render.table import results_csv

    return results_csv(gather(plan, folder))


def count(folder: Folder, event: str) -> int:
    """How often something stands in the history of a study."""
    return sum(line["event"] == event for line in folder.history())

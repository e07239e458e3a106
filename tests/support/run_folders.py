"""Folders of finished runs, written by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ftlit.runs.files import SCHEMA

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {"max_epochs": 3, "enable_progress_bar": None},
    "model": {
        "class_path": "ftlit.TextClassification",
        "init_args": {
            "backbone": "bert",
            "tuning": {"class_path": "ftlit.Full", "init_args": {"embeddings": None}},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-4}},
        },
    },
    "data": {"class_path": "ftlit.TextClassificationData", "init_args": {"dataset": "sst2", "max_length": 64}},
    "run_dir": "runs/x",
}
RECORD: dict[str, Any] = {
    "schema": SCHEMA,
    "status": "completed",
    "task": "TextClassification",
    "evidence": "labels",
    "git": {"commit": "c0ffee", "dirty": False},
    "versions": {"torch": "2.13.0", "ftlit": "0.1.0"},
    "hardware": {"processor": "A", "gpus": []},
    "data": {"splits": {"train": {"rows": 80, "fingerprint": "f1"}, "test": {"rows": 50, "fingerprint": "f2"}}},
}
Make = Callable[..., str]


def answers(seed: int, share: float) -> list[dict[str, Any]]:
    """Fifty answers of which about a share is right."""
    right = np.random.default_rng(seed).random(50) < share
    pairs = [("good", "good" if hit else "bad") for hit in right]
    scores = {"good": 0.5, "bad": 0.5}
    return [{"id": f"test:{i}", "label": a, "prediction": b, "scores": scores} for i, (a, b) in enumerate(pairs)]


def accuracy(rows: list[dict[str, Any]]) -> float:
    return sum(row["label"] == row["prediction"] for row in rows) / len(rows)


def changed(**values: Any) -> dict[str, Any]:
    """The config with some of the model's settings changed."""
    model = {**CONFIG["model"], "init_args": {**CONFIG["model"]["init_args"], **values}}
    return {**CONFIG, "model": model}


def write_run(
    folder: Path,
    rows: list[dict[str, Any]],
    config: dict[str, Any] = CONFIG,
    results: dict[str, Any] | None = None,
    **record: Any,
) -> str:
    """Write the folder of a run with its predictions of test, and give its name."""
    (folder / "predictions").mkdir(parents=True)
    given = {"test": {"loss": 0.5, "accuracy": accuracy(rows)}} if results is None else results
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "run_dir": str(folder)}))
    (folder / "run.json").write_text(json.dumps({**RECORD, **record}))
    (folder / "results.json").write_text(json.dumps(given))
    (folder / "predictions" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)

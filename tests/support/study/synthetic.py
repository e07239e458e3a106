"""Study folders as a run study leaves them, with predictions drawn from seeded numbers: no model is trained."""

import json
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ftlit.runs.files import SCHEMA
from ftlit.study.plan.cells import Arm, Cell, Plan
from ftlit.study.plan.file import read_study
from ftlit.study.selection.trials import selection
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.util.files import write_json, write_text

LABELS = ("negative", "positive")
WORDS = ["film", "of", "some", "charm", "that", "never", "finds", "its", "feet", "too", "long", "<script>alert(1)</script>"]
STUDY: dict[str, Any] = {
    "question": "Which way of tuning is best for short texts?",
    "base": {
        "model": {"class_path": "TextClassification", "init_args": {"backbone": "tiny", "tuning": "Full"}},
        "data": {"class_path": "TextClassificationData", "init_args": {"dataset": "made_up"}},
    },
    "axes": {"tuning": {name: {"model.tuning": name} for name in ("Full", "LoRA", "BitFit", "Frozen")}},
    "seeds": [0, 1, 2],
    "select": {"over": {"model.optimizer.init_args.lr": [1e-4, 3e-4, 1e-3]}, "nested": False},
    "compare": {"metric": "accuracy", "baseline": "Full"},
}
SKILL = {"Full": 0.86, "LoRA": 0.88, "BitFit": 0.85, "Frozen": 0.72}  # of others, by their place among the arms
COSTS = {"Full": 22_000_000, "LoRA": 330_000, "BitFit": 40_000, "Frozen": 770}
VERSIONS = {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0", "ftlit": "0.1.0"}


def made(folder: Path, examples: int = 200, finish: bool = True, **keys: Any) -> tuple[Plan, Folder]:
    """A study, and its folder in which every cell has finished.

    Args:
        folder: Where the file and the folder of the study go.
        examples: Rows of test; validation has half as many.
        finish: Whether anything has run at all.
        **keys: Keys of the study's file that replace those of `STUDY`.
    """
    file = folder / "made.yaml"
    write_text(file, yaml.safe_dump({**STUDY, "folder": str(folder / "study"), **keys}, sort_keys=False))
    plan = Plan(read_study(file))
    place = Folder(plan.study.folder, plan.study.compare.split)
    place.open(plan.study, file)
    if finish:
        choices = selection(plan, place, may_propose=True)
        while left := Progress(plan, place, choices).in_state("pending"):
            write_all(plan, place, left, examples)
    return plan, Folder(plan.study.folder, plan.study.compare.split)


def first_trials(plan: Plan, arm: Arm) -> list[Cell]:
    """The trials of an arm that are known from the start."""
    return [cell for search in plan.searches(arm) for one in plan.settings(search) for cell in one.cells]


def write_all(plan: Plan, folder: Folder, cells: Iterable[Cell], examples: int) -> None:
    """Leave the run folders of cells."""
    for cell in cells:
        write_cell(plan, folder, cell, examples)


def write_cell(plan: Plan, folder: Folder, cell: Cell, examples: int) -> None:
    """Leave the run folder of a cell that has finished."""
    run_dir, rate = folder.run_dir(cell.name), float(next(iter(cell.chosen.values()), 3e-4))
    label = cell.arm.levels[str(plan.study.compare.axis)]
    place = list(plan.study.axes[str(plan.study.compare.axis)]).index(label)
    skill = SKILL.get(label, 0.6 + 0.3 * ((place * 37) % 101) / 100) - 0.04 * abs(np.log10(rate / 3e-4))
    skill += 0.02 * sum(np.log10(float(level)) for axis, level in cell.arm.levels.items() if axis == "shots")
    folder.write_config(cell)
    folder.note("started", cell.name)
    results: dict[str, Any] = {}
    for split, count in (("validation", examples // 2), ("test", examples)):
        if split == "validation" or cell.final:
            rows = predictions(split, count, skill, place, cell.seed)
            write_text(run_dir / "predictions" / f"{split}.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
            accuracy = sum(row["label"] == row["prediction"] for row in rows) / count
            results[split] = {"loss": 1 - accuracy, "accuracy": accuracy}
    trained = COSTS.get(label, 1000 * (place + 1))
    results["efficiency"] = {
        "train_seconds": 20.0 + trained**0.25, "peak_memory_bytes": 4e8 + 16 * trained, "checkpoint_bytes": 4 * trained,
        "trained_parameters": trained, "trained_share": trained / 22_000_000,
    }  # fmt: skip
    write_json(run_dir / "results.json", results)
    write_text(run_dir / "config.yaml", yaml.safe_dump(cell.config))
    write_json(run_dir / "run.json", record(cell))
    write_text(run_dir / "metrics.csv", curve_csv(results["validation"]["accuracy"]))
    folder.note("finished", cell.name)


def predictions(split: str, count: int, skill: float, arm: int, seed: int) -> list[dict[str, Any]]:
    """Answers to texts that are hard for all arms alike, and to each arm and seed a little in its own way."""
    texts, gold, hard = inputs(split, count)
    own = np.random.default_rng([len(split), arm, seed]).normal(size=count)
    right = (0.8 * hard + 0.6 * own < np.sqrt(2) * _inverse(skill)).tolist()
    return [
        {
            "id": f"{split}:{i}",
            "text": texts[i],
            "label": LABELS[gold[i]],
            "prediction": LABELS[gold[i] if right[i] else 1 - gold[i]],
            "scores": dict.fromkeys(LABELS, 0.5),
        }
        for i in range(count)
    ]


@cache
def inputs(split: str, count: int) -> tuple[list[str], list[int], np.ndarray]:
    """The texts of a split, their labels, and how hard they are."""
    words, shared = random.Random(split), np.random.default_rng(len(split))
    texts = [" ".join(words.choices(WORDS, k=words.randint(2, 20))) for _ in range(count)]
    return texts, shared.integers(2, size=count).tolist(), shared.normal(size=count)


def _inverse(share: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(2 * min(max(share, 0.02), 0.98) - 1))


def record(cell: Cell) -> dict[str, Any]:
    """What run.json says."""
    splits = {split: {"rows": rows, "fingerprint": f"{split}-0123"} for split, rows in
              (("train", 600), ("validation", 100), ("test", 200))}  # fmt: skip
    return {
        "schema": SCHEMA,
        "status": "completed", "started": "2026-11-24T21:07:41Z", "ended": "2026-11-24T21:11:06Z", "seed": cell.seed,
        "task": "TextClassification", "evidence": "labels", "precision": "32-true",
        "git": {"commit": "4c290df1340f7bb2", "dirty": False},
        "versions": VERSIONS, "hardware": {"processor": "AMD EPYC", "cores": 2, "threads": 1, "gpus": []},
        "data": {"splits": splits},
    }  # fmt: skip


def curve_csv(final: float) -> str:
    """A metric that climbs to its end over five validations."""
    rows = [f"{100 * (i + 1)},{i},{final - 0.2 / 2 ** (2 * i)!r},0.1" for i in range(5)]
    return "\n".join(["step,epoch,val/accuracy,train/lr", *rows]) + "\n"

"""The old and the new model on the old and on the new test data, example by example."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import nn

from ftlit.data.replay.earlier import earlier_data
from ftlit.data.rows.duplicates import find_overlap
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.compress.evaluate import Evaluated, Judge, evaluate
from ftlit.losses import IMPOSSIBLE
from ftlit.metrics.evidence import EVIDENCE_KINDS, aligned
from ftlit.runs.checkpoint import find_checkpoint, load_task, read_checkpoint
from ftlit.runs.opening import build
from ftlit.tuning.base import KNOWN_ROWS, known_rows

PLACES = ("old", "new")  # test data
OF_TRAINING = ("loss", "teacher", "keep", "auxiliary", "lr_factors", "label_counts")  # options that may not fit other labels


@dataclass(frozen=True)
class Side:
    """Both models on one test split.

    Args:
        place: Whose test data they are, `old` or `new`.
        old: The metric of the old model.
        new: The metric of the new model.
        interval: The 95% interval of their difference; None if predictions do not tell.
        loss: How much worse the new model is, in units of the tolerance.
        loss_interval: The 95% interval of `loss`.
        examples: Number of examples.
        turned: Numbers of examples that the old model has right and the new one wrong, and the reverse; None if predictions
            are not simply right or wrong.
        labels: Rows of each label, and how many of them each model has right.
    """

    place: str
    old: float
    new: float
    interval: tuple[float, float] | None
    loss: float
    loss_interval: tuple[float, float] | None
    examples: int
    turned: tuple[int, int] | None
    labels: dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Compared:
    """What was compared, and how.

    Args:
        metric: Name of the metric.
        higher: Whether its higher values are better.
        is_limited: Whether losses are differences, and not shares of the old model's value.
        sides: Both models on the old test data, and on the new ones.
        repeated: By the run that trained on them, rows of the other run's test split, exactly or nearly.
    """

    metric: str
    higher: bool
    is_limited: bool
    sides: list[Side]
    repeated: dict[str, int]


def compare(old_run: Path, new_run: Path, work: Path, accelerator: str = "cpu", trust: bool = False) -> Compared:
    """Evaluate an old and a new model on the test data of both runs.

    The old model gets labels that it does not know, and never answers with one of them.

    Args:
        old_run: Folder of the run of the old model.
        new_run: Folder of the run that began with it.
        work: Folder for predictions, which may be removed afterwards.
        accelerator: Where they compute, as Lightning names it.
        trust: Whether to run code that comes with the backbone.

    Raises:
        UserError: One of the runs has no test split.
    """
    models, data = opened(old_run, new_run, trust)
    judge = Judge.of(models["new"])
    sides = []
    for place in PLACES:
        found = {
            name: evaluate(task, data[place], "test", work / f"{name}-{place}", accelerator) for name, task in models.items()
        }
        sides.append(side(judge, place, found["old"], found["new"]))
    return Compared(judge.metric, judge.higher, judge.is_limited, sides, repeated(data))


def repeated(data: dict[str, TaskData]) -> dict[str, int]:
    """Count the rows of each run's test split that the other run was trained on, by the run that was."""
    found = {}
    for place, other in (PLACES, reversed(PLACES)):
        train, test = data[place], data[other]
        overlap = find_overlap(train.joined_texts(train.rows["train"]), test.joined_texts(test.rows["test"]), examples=0)
        found[place] = overlap.exact + overlap.near
    return found


def opened(old_run: Path, new_run: Path, trust: bool = False) -> tuple[dict[str, Any], dict[str, TaskData]]:
    """Return the tasks of both models and the data of both runs, with the labels of the new run."""
    best = {"old": find_checkpoint(old_run), "new": find_checkpoint(new_run)}
    models = {name: load_task(path, trust) for name, path in best.items()}
    names, known = (getattr(models[name], "label_names", None) for name in ("new", "old"))
    data = {"new": earlier_data(str(new_run), "the new run", trust), "old": earlier_data(str(old_run), "--run", trust)}
    if names != known:
        models["old"] = with_labels(best["old"], old_run, names, trust)
        data["old"] = earlier_data(str(old_run), "--run", trust, label_names=names)
    for place, found in data.items():
        check_test(found, place)
    return models, data


def check_test(data: TaskData, place: str) -> None:
    """Check that data have a test split.

    Raises:
        UserError: They do not.
    """
    if "test" not in data.rows:
        what = "what the new model forgets" if place == "old" else "what it learns"
        raise UserError(f"the {place} data {data.dataset!r} have no test split, on which {what} is measured; add one to them")


def with_labels(checkpoint: Path, run: Path, names: Any, trust: bool = False) -> Any:
    """The model of a run with further labels, which it never answers with."""
    given = read_checkpoint(checkpoint)["hyper_parameters"]
    own = {"label_names": names, "init_from": str(run), "tuning": {"class_path": "ftlit.tuning.Full"}}
    changes = {**dict.fromkeys(OF_TRAINING), **own}
    task = build(LightningModule, {name: changes.get(name, value) for name, value in given.items()}, checkpoint, trust)
    for weight in task.model.parameters():
        if hasattr(weight, KNOWN_ROWS):
            _silence(weight, known_rows(weight).flatten())
    return task


@torch.no_grad()
def _silence(weight: nn.Parameter, known: torch.Tensor) -> None:
    weight[~known] = IMPOSSIBLE if weight.ndim == 1 else 0.0


def side(judge: Judge, place: str, old: Evaluated, new: Evaluated) -> Side:
    """Compare two models on the same examples."""
    return Side(
        place,
        old.metrics[judge.metric],
        new.metrics[judge.metric],
        judge.interval(old, new),
        judge.loss(old, new),
        judge.loss_interval(old, new),
        len(old.rows),
        *_right(judge.kind, old, new),
    )


def _right(kind: str | None, old: Evaluated, new: Evaluated) -> tuple[tuple[int, int] | None, dict[str, tuple[int, int, int]]]:
    """How many examples turned wrong and turned right, and rows and right answers by label."""
    is_right = EVIDENCE_KINDS[kind].is_right if kind in EVIDENCE_KINDS else None
    if is_right is None:
        return None, {}
    pairs = [
        (one, is_right(one), is_right(two))
        for one, two in zip(*aligned({"old": old.rows, "new": new.rows}).values(), strict=True)
    ]
    turned = Counter(before - after for _, before, after in pairs)
    labels: dict[str, list[tuple[bool, bool]]] = {}
    if all(isinstance(row.get("label"), str) for row, _, _ in pairs) and kind in ("labels", "relations"):
        for row, before, after in pairs:
            labels.setdefault(row["label"], []).append((before, after))
    counts = {name: (len(found), sum(a for a, _ in found), sum(b for _, b in found)) for name, found in sorted(labels.items())}
    return (turned[1], turned[-1]), counts

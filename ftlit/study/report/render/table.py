"""The numbers of every finished run as CSV: results, which do not depend on how the study ran, and costs, which do."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from ftlit.study.report.content.numbers import Numbers
from ftlit.study.state.runs import ArmRuns, CellRun

COST = ("train_seconds", "trunk_seconds", "teacher_seconds", "seconds_per_epoch", "seconds_to_best", "examples_per_second",
        "tokens_per_second", "peak_memory_bytes", "checkpoint_bytes")  # fmt: skip
MACHINE = ("started", "ended")


def results_csv(numbers: Numbers) -> str:
    """One line per finished run, in the order of arms and seeds, without anything that depends on timing.

    A trial that is also a repetition has one line, as a repetition.
    """
    splits = list(dict.fromkeys(["validation", numbers.study.compare.split]))
    keys = {split: sorted({key for run in numbers.runs for key in run.results.get(split, {})}) for split in splits}
    rows = []
    for arm, role, run in _in_order(numbers):
        metrics = {
            f"{split}/{key}": run.results.get(split, {}).get(key)
            for split in splits if split == "validation" or role == "repetition" for key in keys[split]
        }  # fmt: skip
        trained = run.results.get("efficiency", {}).get("trained_parameters")
        rows.append({**_named(numbers, arm, role, run), **metrics, "trained_parameters": trained})
    columns = [*_columns(numbers), *(f"{split}/{key}" for split in splits for key in keys[split]), "trained_parameters"]
    return _csv(columns, rows)


def efficiency_csv(numbers: Numbers) -> str:
    """The time, memory, machine and dates of each of these runs."""
    rows = []
    for arm, role, run in _in_order(numbers):
        efficiency, hardware = run.results.get("efficiency", {}), run.record.get("hardware") or {}
        rows.append({
            **_named(numbers, arm, role, run), **{key: efficiency.get(key) for key in COST},
            **{key: run.record.get(key) for key in MACHINE}, "processor": hardware.get("processor"),
            "gpus": "; ".join(hardware.get("gpus") or []),
        })  # fmt: skip
    return _csv([*_columns(numbers), *COST, *MACHINE, "processor", "gpus"], rows)


def _in_order(numbers: Numbers) -> Iterator[tuple[ArmRuns, str, CellRun]]:
    repeated = {run.cell.name for run in numbers.repetitions}
    for arm in numbers.arms:
        for run in arm.trials:
            if run.cell.name not in repeated:
                yield arm, "trial" if run.cell.rung is None else f"trial, rung {run.cell.rung}", run
        for run in arm.repetitions:
            yield arm, "repetition", run


def _columns(numbers: Numbers) -> list[str]:
    over = list(numbers.study.select.over) if numbers.study.select else []
    return ["arm", "base", *(f"axis/{axis}" for axis in numbers.study.axes), "role", "seed", *over, "cell"]


def _named(numbers: Numbers, arm: ArmRuns, role: str, run: CellRun) -> dict[str, Any]:
    axes = {f"axis/{axis}": label for axis, label in arm.arm.levels.items()}
    return {"arm": arm.arm.name, "base": arm.arm.base, **axes, "role": role, "seed": run.cell.seed,
            **run.cell.chosen, "cell": run.cell.name}  # fmt: skip


def _csv(columns: list[str], rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    table = csv.DictWriter(out, columns, lineterminator="\n")
    table.writeheader()
    table.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else json.dumps(value) if isinstance(value, dict | list) else str(value)

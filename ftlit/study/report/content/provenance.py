"""Failures, and the origin of every number."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ftlit.study.report.content.numbers import Numbers
from ftlit.study.running.runner import duration
from ftlit.study.state.runs import CellRun
from ftlit.util.render.document import Code, Fold, Part, Section, Table, Text
from ftlit.util.render.formats import NONE, chosen_text, listed, number, plural, seconds, size

MAX_FAILURES = 50  # failed cells that are shown with their errors
PREDICTED_FORMATS = {"train_seconds": seconds, "peak_memory_bytes": size, "checkpoint_bytes": size}


def failures(numbers: Numbers) -> Section:
    """The cells that failed, with their errors."""
    failed = numbers.progress.in_state("failed")
    if not failed:
        return Section("Failures", [Text("No run failed.")])
    rows = [[cell.title, cell.name, numbers.folder.error(cell.name) or NONE] for cell in failed[:MAX_FAILURES]]
    notes = [f"Their output is in {numbers.folder.path}/logs."]
    if len(failed) > MAX_FAILURES:
        notes.append(f"The first {MAX_FAILURES} of {len(failed)} are shown.")
    table = Table("Failed runs", ["run", "name", "error"], rows, words=(0, 1, 2), notes=notes)
    text = f"{len(failed)} of {plural(sum(numbers.progress.counts.values()), 'run')} failed; the results do not include them."
    return Section("Failures", [Text(text), table])


def provenance(numbers: Numbers) -> Section:
    """Versions, hardware, code, cost, interruptions, and all cells."""
    if not numbers.runs:
        return Section("Provenance", [])
    again = f"python -m ftlit fit --config {numbers.folder.path}/configs/{numbers.runs[-1].cell.name}.yaml --run_dir runs/again"
    parts: list[Part] = [
        Text(_spent(numbers)),
        _environment(numbers),
        *predicted(numbers),
        Text("Every run can be repeated on its own, such as the last one:"),
        Code(again),
        Fold(f"All {len(numbers.runs):,} finished runs", [_cells(numbers)]),
    ]
    return Section("Provenance", parts)


def _spent(numbers: Numbers) -> str:
    """The total training time, and the interruptions."""
    spent = [run.results.get("efficiency", {}).get("train_seconds") or 0 for run in numbers.runs]
    events = Counter((line["event"], line["cell"]) for line in numbers.folder.history())
    running = {cell.name for cell in numbers.progress.in_state("running")}
    started = {cell for event, cell in events if event == "started"}
    broken = {
        cell: n for cell in started
        if (n := events["started", cell] - events["finished", cell] - events["failed", cell] - (cell in running)) > 0
    }  # fmt: skip
    text = f"{plural(len(numbers.runs), 'run')} trained for {duration(sum(spent))} in total."
    if broken:
        text += (
            f" {plural(len(broken), 'run')} had {plural(sum(broken.values()), 'interruption')} and continued from the last "
            "checkpoint."
        )
    elif events:
        text += " No run was interrupted."
    return text


def _environment(numbers: Numbers) -> Table:
    """Versions, hardware and code, each with the number of runs."""
    found: dict[str, Counter[str]] = {}
    for run in numbers.runs:
        git, hardware = run.record.get("git") or {}, run.record.get("hardware") or {}
        values = {**{f"version of {name}": version for name, version in (run.record.get("versions") or {}).items()},
                  "processor": hardware.get("processor"), "threads": hardware.get("threads"),
                  "GPUs": listed(sorted(hardware.get("gpus") or []), 9), "precision": run.record.get("precision"),
                  "git commit": _commit(git)}  # fmt: skip
        for name, value in values.items():
            found.setdefault(name, Counter())[str(value)] += 1
    rows = [[name, _counted(values)] for name, values in found.items()]
    return Table("Software and hardware", ["item", "value"], rows, words=(0, 1))


def _commit(git: Mapping[str, Any]) -> str:
    return f"{git['commit'][:12]}{' with uncommitted changes' if git.get('dirty') else ''}" if git.get("commit") else "none"


def _counted(values: Counter[str]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value} ({plural(number, 'run')})" for value, number in values.most_common(6))


def predicted(numbers: Numbers) -> list[Table]:
    """The estimated and the actual cost of runs, if the study was planned."""
    rows = []
    for arm in numbers.arms:
        for key, as_text in PREDICTED_FORMATS.items():
            pairs = [both for run in arm.repetitions if (both := _both(run, key))]
            if pairs:
                before, after = (sum(values) / len(values) for values in zip(*pairs, strict=True))
                rows.append(
                    [
                        arm.arm.name,
                        key.replace("_", " "),
                        as_text(before),
                        as_text(after),
                        f"{after / before:.2f}" if before else NONE,
                    ]
                )
    columns = ["arm", "cost", "predicted", "actual", "actual / predicted"]
    return [Table("Predicted and actual cost", columns, rows, words=(0, 1))] if rows else []


def _both(run: CellRun, key: str) -> tuple[float, float] | None:
    before = (run.record.get("predicted") or {}).get(key)
    after = run.results.get("efficiency", {}).get(key)
    return None if before is None or after is None else (float(before), float(after))


def _cells(numbers: Numbers) -> Table:
    final = {run.cell.name for run in numbers.repetitions}
    chosen_by = {run.cell.name for arm in numbers.arms for run in arm.trials}
    rows = []
    for run in numbers.runs:
        name = run.cell.name
        role = "trial and repetition" if name in final & chosen_by else "repetition" if name in final else "trial"
        splits = run.record.get("data", {}).get("splits", {})
        prints = " ".join(f"{split}:{found.get('fingerprint')}" for split, found in splits.items())
        scores = [
            number(run.results.get(split, {}).get(numbers.metric), numbers.decimals + 1) for split in ("validation", "test")
        ]
        rows.append([name, run.cell.arm.name, role, str(run.cell.seed), chosen_text(run.cell.chosen), *scores, prints])
    place = numbers.folder.path
    note = f"The config of a run is {place}/configs/CELL.yaml, its folder {place}/cells/CELL."
    columns = [
        "cell",
        "arm",
        "role",
        "seed",
        "chosen",
        f"{numbers.metric} on validation",
        "on test",
        "fingerprints of the data",
    ]
    return Table("Finished runs", columns, rows, words=(0, 1, 2, 4, 7), notes=[f"Cell: the name of a run. {note}"])

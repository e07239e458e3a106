"""Calibrate three runs, and write the calibration errors before and after with their intervals.

    python -m experiments.insight.calibration --data data          # about 15 minutes on two cores
    python -m experiments.insight.calibration --data data --few    # a few rows, written nowhere

Trains a MiniLM on SST-2, CoNLL-2003 and GoEmotions, unless `--run sst2=runs/sst2` names a finished run of one of them, and fits
each method on validation. The figures are those of test. At the end it times the measures of a report.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np

import ftlit
from ftlit.metrics.calibration.measures import calibration_report
from ftlit.util.render.document import Table
from ftlit.util.render.formats import interval, number
from ftlit.util.render.markdown import markdown_table

PAGE = Path(__file__).parents[1] / "results/insight_calibration.md"
TITLES = {"sst2": "SST-2", "conll2003": "CoNLL-2003", "go_emotions": "GoEmotions"}
METHODS = ("temperature", "isotonic")
MEASURES = ("ece", "brier", "nll")
SHORT = ("--trainer.max_steps", "6", "--data.limit_validation", "96", "--data.limit_test", "96", "--data.limit_train", "96")
COVERAGE, MAX_ERROR = 0.95, 0.05
TIMED_ROWS, TIMES = 10_000, 5
INTRODUCTION = """# Scores that are probabilities: three runs before and after calibration

    python -m experiments.insight.calibration --data data

all-MiniLM-L6-v2, all weights, as in `experiments/sst2.yaml`, `conll2003.yaml` and `go_emotions.yaml`; every calibration was
fitted on validation and is shown on test. `ece` is the expected calibration error of up to 15 bins of equal size without what
chance adds; brackets and the last column are 95% bootstraps over rows, the last one paired. Less is better."""


def trained(name: str, data: Path, place: Path, few: bool) -> Path:
    """Train a run of an experiment."""
    labels = ["--data.label_names", str(data / name / "labels.txt")] if name == "go_emotions" else []
    own = ["--data.dataset", str(data / name), *labels, "--trainer.enable_progress_bar", "false", *(SHORT if few else ())]
    fit = ["fit", "--config", f"experiments/{name}.yaml", "--run_dir", str(place / name), "--test_after_fit", "true"]
    subprocess.run([sys.executable, "-m", "ftlit", *fit, *own], check=True)
    return place / name


def copied(run: Path, place: Path) -> Path:
    """A copy of a run, which the calibrations may change."""
    left = shutil.ignore_patterns("insight", "calibration.json", "last.ckpt")
    return Path(shutil.copytree(run, place / f"{run.name}-copy", ignore=left))


def changes(run: Path, method: str) -> Iterator[tuple[str, ...]]:
    """The rows of the table of one method."""
    ftlit.calibrate(str(run), method=method, overwrite=True)
    found = json.loads((run / "insight/calibration/calibration.json").read_text("utf-8"))["changes"]
    for i, name in enumerate(found["measure"]):
        if name in MEASURES:
            yield _cells(method, {key: values[i] for key, values in found.items()})


def _cells(method: str, one: dict[str, Any]) -> tuple[str, ...]:
    before, after, difference = (number(one[key], 4, sign=key == "difference") for key in ("before", "after", "difference"))
    ends = [interval(*one[key], 4) for key in ("before_interval", "after_interval")]
    paired = interval(one["low"], one["high"], 4, sign=True)
    return one["of"], one["measure"], method, f"{before} {ends[0]}", f"{after} {ends[1]}", difference, paired


def table(run: Path, name: str) -> Table:
    """The measures of a run before and after."""
    rows = sorted((row for method in METHODS for row in changes(run, method)), key=lambda row: (row[0], MEASURES.index(row[1])))
    return Table(TITLES[name], ("of", "measure", "method", "before", "after", "difference", "95% interval"), rows, (0, 1, 2))


def promises(run: Path) -> str:
    """How sets and withheld answers of a run keep what was asked for on validation."""
    ftlit.calibrate(str(run), coverage=COVERAGE, max_error=MAX_ERROR, overwrite=True)
    found = json.loads((run / "insight/calibration/calibration.json").read_text("utf-8"))
    shown = {name: f"{one['value']:.4f} {interval(*one['interval'], 4)}" for name, one in found["withheld"].items()}
    covered = found["sets"]["coverage"]
    return (
        f"SST-2 with `--coverage {COVERAGE} --max_error {MAX_ERROR}`: the sets have the right label in {covered['value']:.4f} "
        f"{interval(*covered['interval'], 4)} of the rows of test; {shown['answered']} of the rows are answered, with "
        f"{shown['wrong']} wrong ones among the answers, and {shown['all_wrong']} if all are answered."
    )


def times() -> str:
    """Seconds of a core that the measures of a report take, by number of labels."""
    rng = np.random.default_rng(0)
    parts = []
    for labels in (2, 5, 28):
        names = [f"label{i}" for i in range(labels)]
        rows = [_row(i, names, rng) for i in range(TIMED_ROWS)]
        taken = []
        for _ in range(TIMES):
            began = process_time()
            calibration_report("labels", rows)
            taken.append(process_time() - began)
        parts.append(f"{min(taken):.3f} s with {labels} labels")
    told = f"The part of a report about calibration takes, for {TIMED_ROWS:,} rows, {', '.join(parts)}"
    return f"{told} (of one core, best of {TIMES})."


def _row(i: int, names: list[str], rng: np.random.Generator) -> dict[str, Any]:
    scores = rng.dirichlet(np.ones(len(names)))
    best, named = int(scores.argmax()), dict(zip(names, scores.tolist(), strict=True))
    return {
        "id": str(i),
        "label": names[rng.integers(len(names))],
        "prediction": names[best],
        "score": float(scores[best]),
        "scores": named,
    }


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with the data sets")
    parser.add_argument("--run", action="append", default=[], help="a finished run to take, such as sst2=runs/sst2")
    parser.add_argument("--few", action="store_true", help="a few rows and steps, written nowhere")
    given = parser.parse_args(args)
    known = dict(part.split("=", 1) for part in given.run)
    parts = [INTRODUCTION]
    with TemporaryDirectory(prefix="ftlit-calibration-") as folder:
        place = Path(folder)
        for name in TITLES:
            run = copied(Path(known[name]), place) if name in known else trained(name, given.data.resolve(), place, given.few)
            parts += [markdown_table(table(run, name)), *([promises(run)] if name == "sst2" and not given.few else [])]
    text = "\n\n".join([*parts, times()]) + "\n"
    print(text) if given.few else PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Time the explanations of SST-2 sentences by each method, and check how far they can be believed.

    python -m experiments.insight.explain --data data          # about an hour on two cores
    python -m experiments.insight.explain --data data --few    # a few rows and steps, written nowhere

Trains a MiniLM on SST-2 for one epoch, and explains its predictions for the first sentences of test.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

import ftlit
from ftlit.insight.explain.checks import Checks, Mean, check
from ftlit.insight.explain.command import CHECKED
from ftlit.insight.explain.explainer import Explainer
from ftlit.insight.explain.methods import METHODS
from ftlit.runs.record import hardware
from ftlit.util.render.document import Table
from ftlit.util.render.formats import NONE, interval, number, seconds, share
from ftlit.util.render.markdown import markdown_table

PAGE = Path(__file__).parents[1] / "results/explain.md"
ROWS, FEW = 1000, 16
SHORT = ("--trainer.max_steps", "6", "--data.limit_validation", "64", "--data.limit_train", "96")
COLUMNS = ("method", "seconds", "sentences a second", "median steps", "adds up to 1%")
CHECKS = (
    "method",
    "comprehensiveness",
    "against random order",
    "sufficiency",
    "against random order",
    "correlation with random weights",
)
INTRODUCTION = """# Explanations of SST-2 sentences, and how far they can be believed

    python -m experiments.insight.explain --data data

all-MiniLM-L6-v2, trained on SST-2 for one epoch, all weights; {rows:,} sentences of test, explained by `ftlit explain` with its
defaults, in batches of at most 512 tokens. {processor}, {threads} threads. Seconds are those of one pass, with tokenizing and
predicting, without loading the model and without the checks."""


def trained(data: Path, place: Path, few: bool) -> Path:
    """Train the run, and return its folder."""
    run = place / "run"
    own = [
        "--run_dir",
        str(run),
        "--data.dataset",
        str(data / "sst2"),
        "--trainer.max_epochs",
        "1",
        "--test_after_fit",
        "false",
    ]
    fit = ["fit", "--config", "experiments/sst2.yaml", "--trainer.enable_progress_bar", "false", *own, *(SHORT if few else ())]
    subprocess.run([sys.executable, "-m", "ftlit", *fit], check=True)
    return run


def measured(run: Path, method: str, rows: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Explain sentences by a method, and return its rows of the tables of speed and of checks."""
    predictor = ftlit.load(run, device="cpu")
    texts: Any = predictor.data.rows["test"].select(range(rows))["sentence"][:]
    checked = [predictor.row(i, text) for i, text in enumerate(texts)]
    explainer = Explainer(predictor, method)
    list(explainer.stream(checked[:8]))  # what only the first call does
    began = time.perf_counter()
    found = list(explainer.stream(checked))
    took = time.perf_counter() - began
    steps = [one.steps for one in found if one.steps is not None]
    complete = sum(one.complete for one in found) / len(found)
    speed = (method, seconds(took), f"{rows / took:.1f}", str(median(steps)) if steps else NONE, share(complete))
    return speed, (method, *checks_of(check(explainer, found[:CHECKED])))


def checks_of(found: Checks) -> tuple[str, ...]:
    """The cells of the checks of a method."""
    faithful = (found.comprehensiveness, found.sufficiency)
    cells = [cell for one in faithful for cell in (number(one.attributed, 3), with_interval(one.difference))]
    return (*cells, with_interval(found.randomised))


def with_interval(found: Mean) -> str:
    """A mean with its 95% interval."""
    return f"{number(found.mean, 3, sign=True)} {interval(found.low, found.high, 3, sign=True)}"


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with sst2")
    parser.add_argument("--few", action="store_true", help="a few rows and steps, written nowhere")
    given = parser.parse_args(args)
    rows = FEW if given.few else ROWS
    with TemporaryDirectory(prefix="ftlit-explain-") as place:
        run = trained(given.data.resolve(), Path(place), given.few)
        found = [measured(run, method, rows) for method in METHODS]
    about = INTRODUCTION.format(rows=rows, processor=hardware()["processor"], threads=torch.get_num_threads())
    note = (
        f"Of the first {CHECKED} sentences, with 95% intervals over sentences: the fall of the probability without the words "
        "of highest attribution (high is good) and with them alone (low is good), each less that with words in random order; "
        "and the mean rank correlation with attributions of the same model with random weights (near zero is good)."
    )
    tables = [
        Table("Speed", COLUMNS, [speed for speed, _ in found]),
        Table("Checks", CHECKS, [checks for _, checks in found], (0,), [note]),
    ]
    text = "\n\n".join([about, *map(markdown_table, tables)]) + "\n"
    print(text) if given.few else PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

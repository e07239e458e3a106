"""Train every task on its real data and put what comes out beside what has been published.

    python experiments/tasks.py --jobs 2                 # all of them; those that have finished are not run again
    python experiments/tasks.py conll2003 squad --jobs 1

Each run is an ordinary `python -m ftlit fit`. The table goes to experiments/results/tasks.md, made of the run folders alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

SEEDS = (0, 1, 2, 3, 4)
ALIGNED = (*["left"] * 6, "right", "right", "left")
RUNS, RESULTS = Path("runs/tasks"), Path("experiments/results/tasks.md")


@dataclass(frozen=True)
class Experiment:
    """A config, and which of its numbers stands in the table.

    Args:
        config: Name of the file in experiments/.
        metrics: Metrics of `split`, by the names that results.json has.
        published: What has been published for such data, with its source.
        split: The split that is measured.
        seeds: Values of seed_everything.
        options: Further options of the command.
        report: Whether the table of single classes is printed too.
        after: Name of the experiment from whose run this one begins.
    """

    config: str
    metrics: tuple[str, ...]
    published: str
    split: str = "test"
    seeds: tuple[int, ...] = (0,)
    options: tuple[str, ...] = ()
    report: bool = False
    after: str | None = None


DRAWN = ("--data.seed", "{seed}")  # other labelled sentences for each seed
EXPERIMENTS: dict[str, Experiment] = {
    "mrpc": Experiment("mrpc", ("accuracy", "f1_macro"), "accuracy 0.841 (BERT-base; transformers run_glue, on GLUE's dev)"),
    "chnsenticorp": Experiment("chnsenticorp", ("accuracy",), "0.950 (Chinese BERT-base, all of train; Cui et al., 2019)"),
    "conll2003": Experiment("conll2003", ("f1", "accuracy"), "0.90 to 0.92 (BERT-base)", report=True),
    "semeval2010_task8": Experiment(
        "semeval2010_task8", ("f1_macro", "f1_micro"), "0.892 (BERT-large; Wu and He, 2019)", report=True
    ),
    "squad": Experiment("squad", ("exact_match", "f1"), "0.812 / 0.885 (BERT-base, 87,599 questions; transformers run_qa)"),
    "commonsense_qa": Experiment(
        "commonsense_qa", ("accuracy",), "0.56 (BERT-large, all of train; Talmor et al., 2019)", "validation"
    ),
    "multi30k": Experiment("multi30k", ("loss", "bleu", "chrf"), "none for two joined encoders"),
    "samsum": Experiment("samsum", ("rouge1", "rouge2", "rougeL", "meteor"), "none for 693 of the 14,732 dialogues"),
    "alpaca_smollm2": Experiment("alpaca_smollm2", ("loss", "perplexity", "bits_per_byte"), "none", "validation"),
    "wikitext2_mlm": Experiment("wikitext2_mlm", ("perplexity", "accuracy"), "none for this model", "validation"),
    "sst2_few": Experiment("sst2_few", ("accuracy",), "beside the next two", seeds=SEEDS, options=DRAWN),
    "sst2_auxiliary": Experiment("sst2_auxiliary", ("accuracy",), "beside sst2_few", seeds=SEEDS, options=DRAWN),
    "sst2_adapted": Experiment("sst2_few", ("accuracy",), "beside sst2_few", seeds=SEEDS, options=DRAWN, after="wikitext2_mlm"),
}


@dataclass(frozen=True)
class Cell:
    """One run: an experiment with a seed."""

    name: str
    seed: int

    @property
    def experiment(self) -> Experiment:
        return EXPERIMENTS[self.name]

    @property
    def run_dir(self) -> Path:
        return RUNS / f"{self.name}_seed{self.seed}"

    @property
    def source(self) -> "Cell | None":
        """The run from which this one begins."""
        return Cell(self.experiment.after, 0) if self.experiment.after else None

    @property
    def command(self) -> list[str]:
        given = self.experiment
        start = ["--model.init_from", str(self.source.run_dir)] if self.source else []
        config, where = f"experiments/{given.config}.yaml", str(self.run_dir)
        seed = ["--seed_everything", str(self.seed)]
        options = [option.format(seed=self.seed) for option in given.options]
        return ["python", "-m", "ftlit", "fit", "--config", config, "--run_dir", where, *seed, *start, *options]

    def read(self, name: str) -> dict[str, Any]:
        path = self.run_dir / name
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def run(cell: Cell, threads: int) -> None:
    """Run a cell unless it has finished; its output goes beside its folder."""
    if cell.read("results.json"):
        return
    if cell.source and not cell.source.read("results.json"):
        print(
            f"skipped {cell.run_dir.name}: it begins from {cell.source.run_dir}, which has no results",
            file=sys.stderr,
            flush=True,
        )
        return
    flags = ["--resume"] if (cell.run_dir / "config.yaml").exists() else []
    log = cell.run_dir.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    print(" ".join([*cell.command, *flags]), flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("w") as file:
        done = subprocess.run([sys.executable, *cell.command[1:], *flags], stdout=file, stderr=file, env=environment)
    if done.returncode:
        print(f"failed with {done.returncode}, see {log}", file=sys.stderr, flush=True)


def run_all(cells: list[Cell], jobs: int) -> None:
    """Run cells, those last that begin from the run of another."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    for late in (False, True):
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda cell: run(cell, threads), [cell for cell in cells if bool(cell.source) == late]))


def spread(values: list[float]) -> str:
    """A number, or mean and standard deviation over seeds."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def row(name: str, cells: list[Cell]) -> list[Any]:
    """The line of an experiment."""
    experiment, record = EXPERIMENTS[name], cells[0].read("run.json")
    results = [cell.read("results.json") for cell in cells]
    splits = record["data"]["splits"]
    before = results[0].get("before", {}).get(experiment.split, {})
    numbers = [
        f"{metric} {spread([r[experiment.split][metric] for r in results])}"
        + (f" (untrained {before[metric]:.4f})" if metric in before else "")
        for metric in experiment.metrics
    ]
    seconds = [r["efficiency"]["train_seconds"] for r in results]
    rows = f"{splits['train']['rows']:,} / {splits[experiment.split]['rows']:,}"
    model = Path(record["backbone"]).name if "/" in record["backbone"] else record["backbone"]
    about = [name, record["task"], rows, MODELS.get(model, model), record["tuning"].split("(")[0]]
    return [*about, ", ".join(numbers), len(cells), f"{statistics.mean(seconds):.0f}", experiment.published]


MODELS = {"model": "MiniLM-L6", "SmolLM2-135M-Instruct.Q4_1.gguf": "SmolLM2-135M"}


def earlier() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Rows and sections of the table as it stands, by experiment: those whose runs are not here are kept."""
    text = RESULTS.read_text("utf-8") if RESULTS.is_file() else ""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    rows = {cells[0].strip(): [cell.strip() for cell in cells] for cells in lines[2:]}
    sections = {part.split("\n", 1)[0].strip(): f"## {part.strip()}" for part in text.split("\n## ")[1:]}
    return rows, sections


def section(name: str, cells: list[Cell]) -> str:
    """How an experiment was run, and what stands beside its row."""
    from second_opinion import SECOND_OPINIONS  # beside this file

    parts = [f"## {name}\n\n    {' '.join(cells[0].command)}"]
    report = cells[0].run_dir / f"{EXPERIMENTS[name].split}_report.txt"
    if name in SECOND_OPINIONS:
        parts.append(f"On the same predictions, {SECOND_OPINIONS[name](cells[0].run_dir)}.")
    if EXPERIMENTS[name].report and report.is_file():
        parts.append("\n".join(f"    {line}" for line in report.read_text("utf-8").rstrip().splitlines()))
    return "\n\n".join(parts)


def write_table() -> None:
    """Write the table of all experiments that have finished."""
    finished = {
        name: cells
        for name, experiment in EXPERIMENTS.items()
        if (cells := [c for seed in experiment.seeds if (c := Cell(name, seed)).read("results.json")])
    }
    rows, sections = earlier()
    rows |= {name: row(name, cells) for name, cells in finished.items()}
    sections |= {name: section(name, cells) for name, cells in finished.items()}
    known = [name for name in EXPERIMENTS if name in rows]
    headers = ["experiment", "task", "rows (train / measured)", "model", "tuning", "measured", "seeds", "seconds", "published"]
    parts = [
        "# Every task on real data",
        "    python experiments/tasks.py --jobs 2",
        tabulate([rows[name] for name in known], headers=headers, tablefmt="github", disable_numparse=True, colalign=ALIGNED),
        "Seconds are of training, on a shared machine; data sets are the subsets that were at hand, so that published numbers, "
        "of larger models and whole data sets, say what is possible rather than what was to be reached.",
    ]
    parts += [sections[name] for name in known if name in sections]
    RESULTS.write_text("\n\n".join(parts) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"experiments to run, of {', '.join(EXPERIMENTS)}; all by default")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in EXPERIMENTS]:
        parser.error(f"no experiment {unknown[0]!r}; there are {', '.join(EXPERIMENTS)}")
    names = [] if options.table else options.names or list(EXPERIMENTS)
    run_all([Cell(name, seed) for name in names for seed in EXPERIMENTS[name].seeds], options.jobs)
    write_table()


if __name__ == "__main__":
    main()

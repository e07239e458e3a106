"""Compare tuning methods on one experiment: choose each one's learning rate on validation, then repeat over seeds.

    python experiments/compare.py experiments/sst2.yaml --arm full:5e-5,1e-4 --arm lora:5e-4,1e-3 --seeds 0,1,2 --jobs 2

An arm is a file of configs/tuning and its learning rates. Each cell is an ordinary `python -m ftlit fit`; cells that have
finished are not run again, and those that were interrupted go on. The table goes to experiments/results/<experiment>.md.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tabulate import tabulate


@dataclass(frozen=True)
class Comparison:
    """Tuning methods on an experiment.

    Args:
        experiment: The config.
        arms: The learning rates to try of each file of configs/tuning.
        seeds: Of the repetitions; the first one also chooses the learning rates.
        metrics: Metrics of the table; the first one chooses, on validation.
        options: Further options of every run.
        name: Name of the folder in runs/.
    """

    experiment: Path
    arms: dict[str, list[str]]
    seeds: list[int]
    metrics: list[str]
    options: tuple[str, ...] = ()
    name: str = ""

    def cell(self, arm: str, rate: str, seed: int) -> "Cell":
        return Cell(self.experiment, arm, rate, seed, self.options, self.name or self.experiment.stem)

    @property
    def search(self) -> dict[tuple[str, str], "Cell"]:
        """The cells that choose learning rates."""
        return {(arm, rate): self.cell(arm, rate, self.seeds[0]) for arm, rates in self.arms.items() for rate in rates}

    @property
    def scores(self) -> dict[tuple[str, str], float]:
        """What the finished ones of them reached on validation."""
        found = {key: cell.results() for key, cell in self.search.items()}
        return {key: results["validation"][self.metrics[0]] for key, results in found.items() if results}

    def best(self) -> dict[str, str]:
        """The learning rate of each arm all of whose rates have been tried."""
        scores = self.scores
        done = [arm for arm, rates in self.arms.items() if all((arm, rate) in scores for rate in rates)]
        return {arm: max(self.arms[arm], key=lambda rate: scores[arm, rate]) for arm in done}

    def repetitions(self) -> dict[str, list["Cell"]]:
        """The cells of each arm at its best learning rate."""
        return {arm: [self.cell(arm, rate, seed) for seed in self.seeds] for arm, rate in self.best().items()}


@dataclass(frozen=True)
class Cell:
    """One training: a tuning method, a learning rate, a seed."""

    experiment: Path
    arm: str
    rate: str
    seed: int
    options: tuple[str, ...]
    folder: str

    @property
    def run_dir(self) -> Path:
        return Path("runs") / self.folder / f"{self.arm}_{self.rate}_seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        return [
            *("fit", "--config", str(self.experiment), "--run_dir", str(self.run_dir)),
            *("--seed_everything", str(self.seed), "--model.tuning", f"configs/tuning/{self.arm}.yaml"),
            *("--model.optimizer.init_args.lr", self.rate, *self.options),
        ]

    def read(self, name: str) -> dict[str, Any] | None:
        path = self.run_dir / name
        return json.loads(path.read_text()) if path.is_file() else None

    def results(self) -> dict[str, Any] | None:
        return self.read("results.json")


def start(cell: Cell, flags: list[str]) -> Any:
    """Start a cell as a process of its own, a fork of this one, which has imported everything."""
    print(" ".join(["python", "-m", "ftlit", *cell.arguments, *flags]), flush=True)
    process = multiprocessing.get_context("fork").Process(target=work, args=(cell, flags))
    process.start()
    return process


def work(cell: Cell, flags: list[str]) -> None:
    """Run a cell in this process; its output goes beside its run folder."""
    from ftlit.__main__ import main

    with cell.run_dir.with_suffix(".log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.argv = ["ftlit"]
        main([*cell.arguments, "--trainer.enable_progress_bar", "false", *flags])


def run_all(cells: list[Cell], jobs: int) -> None:
    """Run cells that have not finished, `jobs` at a time, the cores shared among them."""
    os.environ["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // jobs, 1))  # before torch is imported
    import ftlit.commands.cli  # noqa: F401  once for all cells

    todo, running = [cell for cell in cells if not cell.results()], dict[int, tuple[Cell, Any]]()
    while todo or running:
        while todo and len(running) < jobs:
            cell = todo.pop(0)
            cell.run_dir.parent.mkdir(parents=True, exist_ok=True)
            if not (cell.run_dir / "checkpoints/last.ckpt").exists():
                shutil.rmtree(cell.run_dir, ignore_errors=True)  # there is nothing to go on from
            process = start(cell, ["--resume"] if cell.run_dir.exists() else [])
            running[process.sentinel] = (cell, process)
        for sentinel in wait(list(running)):
            cell, process = running.pop(sentinel)  # type: ignore[call-overload]
            process.join()
            if process.exitcode:
                print(f"failed with {process.exitcode}, see {cell.run_dir.with_suffix('.log')}", file=sys.stderr, flush=True)


def mean(values: list[float], digits: int) -> str:
    """Mean and standard deviation over seeds."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def row(arm: str, rate: str, cells: list[Cell], metrics: list[str]) -> dict[str, Any]:
    """An arm's line of the table."""
    done = [(results, cell.read("run.json") or {}) for cell in cells if (results := cell.results())]
    found = [results for results, _ in done]
    cost, total = [results["efficiency"] for results in found], done[0][1]["parameters"]["total"]
    trained = cost[0]["trained_parameters"]
    return {
        "tuning": arm,
        "learning rate": rate,
        "seeds": len(found),
        **{f"test {m}": mean([r["test"][m] for r in found], 4) for m in metrics},
        "trained parameters": f"{trained:,}",
        "share": f"{trained / total:.2%}",
        "training seconds": mean([c["train_seconds"] for c in cost], 0),
        "peak memory (MiB)": mean([c["peak_memory_bytes"] / 2**20 for c in cost], 0),
    }


def compare(comparison: Comparison, jobs: int) -> None:
    """Run what has not been run of a comparison."""
    run_all(list(comparison.search.values()), jobs)
    run_all([cell for group in comparison.repetitions().values() for cell in group], jobs)


def section(comparison: Comparison, jobs: int) -> str:
    """The table of the arms that have finished, how their rates were chosen, and on which machine."""
    best, cells = comparison.best(), comparison.repetitions()
    done = {arm: group for arm, group in cells.items() if any(cell.results() for cell in group)}
    table = tabulate([row(arm, best[arm], done[arm], comparison.metrics) for arm in done], headers="keys", tablefmt="github")
    tried = "\n".join(
        f"- {arm}: " + ", ".join(f"{rate} {comparison.scores[arm, rate]:.4f}" for rate in comparison.arms[arm]) for arm in done
    )
    record = cells[next(iter(done))][0].read("run.json") or {}
    hardware, versions = record["hardware"], record["versions"]
    return (
        f"{table}\n\nMean ± standard deviation over seeds. Each arm's learning rate was chosen on validation "
        f"({comparison.metrics[0]}, seed {comparison.seeds[0]}):\n\n{tried}\n\n"
        f"{hardware['processor']}, {hardware['cores']} cores, {jobs} trainings at a time with "
        f"{hardware['threads']} thread(s) each, {record['precision']}; torch {versions['torch']}, "
        f"transformers {versions['transformers']}, peft {versions['peft']}, lightning {versions['lightning']}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--arm", action="append", required=True, help="tuning:rate,rate")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--metrics", default="accuracy", help="the first one chooses the learning rate on validation")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    options = parser.parse_args()
    arms = {arm: rates.split(",") for arm, rates in (a.split(":") for a in options.arm)}
    seeds, metrics = [int(seed) for seed in options.seeds.split(",")], options.metrics.split(",")
    comparison = Comparison(options.experiment, arms, seeds, metrics)
    compare(comparison, options.jobs)
    report = Path("experiments/results") / f"{options.experiment.stem}.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    command = f"python {' '.join(sys.argv)}"
    report.write_text(f"# {options.experiment.stem}\n\n    {command}\n\n{section(comparison, options.jobs)}")
    print(f"wrote {report}")


if __name__ == "__main__":
    main()

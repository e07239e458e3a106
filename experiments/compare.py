"""Compare tuning methods on one experiment: choose each one's learning rate on validation, then repeat over seeds.

    python experiments/compare.py experiments/sst2.yaml --arm full:5e-5,1e-4 --arm lora:5e-4,1e-3 --seeds 0,1,2 --jobs 2

An arm is a file of configs/tuning and its learning rates. Each cell is an ordinary `python -m ftlit fit`; cells that have
finished are not run again. The table goes to experiments/results/<experiment>.md.
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


@dataclass(frozen=True)
class Cell:
    """One training: a tuning method, a learning rate, a seed."""

    experiment: Path
    arm: str
    rate: str
    seed: int

    @property
    def run_dir(self) -> Path:
        return Path("runs") / self.experiment.stem / f"{self.arm}_{self.rate}_seed{self.seed}"

    @property
    def command(self) -> list[str]:
        return [
            *("python", "-m", "ftlit", "fit", "--config", str(self.experiment), "--run_dir", str(self.run_dir)),
            *("--seed_everything", str(self.seed), "--model.tuning", f"configs/tuning/{self.arm}.yaml"),
            *("--model.optimizer.init_args.lr", self.rate),
        ]

    def results(self) -> dict[str, Any] | None:
        path = self.run_dir / "results.json"
        return json.loads(path.read_text()) if path.is_file() else None


def run(cell: Cell, threads: int) -> None:
    """Run a cell unless it has finished; its output goes beside its run folder."""
    if cell.results():
        return
    flag = ["--resume"] if cell.run_dir.exists() else []
    cell.run_dir.parent.mkdir(parents=True, exist_ok=True)
    log = cell.run_dir.with_suffix(".log")
    print(" ".join([*cell.command, *flag]), flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("w") as file:
        done = subprocess.run([sys.executable, *cell.command[1:], *flag], stdout=file, stderr=file, env=environment)
    if done.returncode:
        raise SystemExit(f"failed, see {log}")


def run_all(cells: list[Cell], jobs: int) -> None:
    """Run cells, `jobs` at a time, the cores shared among them."""
    threads = max((os.cpu_count() or 1) // jobs, 1)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda cell: run(cell, threads), cells))


def mean(values: list[float], digits: int) -> str:
    """Mean and standard deviation over seeds."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def row(arm: str, rate: str, cells: list[Cell], metrics: list[str]) -> dict[str, Any]:
    """An arm's line of the table."""
    found = [results for cell in cells if (results := cell.results())]
    cost = [results["efficiency"] for results in found]
    return {
        "tuning": arm,
        "learning rate": rate,
        "seeds": len(found),
        **{f"test {m}": mean([r["test"][m] for r in found], 4) for m in metrics},
        "trained parameters": f"{cost[0]['trained_parameters']:,}",
        "training seconds": mean([c["train_seconds"] for c in cost], 0),
        "peak memory (MiB)": mean([c["peak_memory_bytes"] / 2**20 for c in cost], 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--arm", action="append", required=True, help="tuning:rate,rate")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--metrics", default="accuracy", help="the first one chooses the learning rate on validation")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    options = parser.parse_args()
    seeds, metrics = [int(s) for s in options.seeds.split(",")], options.metrics.split(",")
    arms = {arm: rates.split(",") for arm, rates in (a.split(":") for a in options.arm)}
    search = {(arm, rate): Cell(options.experiment, arm, rate, seeds[0]) for arm in arms for rate in arms[arm]}
    run_all(list(search.values()), options.jobs)
    scores = {key: (cell.results() or {})["validation"][metrics[0]] for key, cell in search.items()}
    best = {arm: max(rates, key=lambda rate: scores[arm, rate]) for arm, rates in arms.items()}
    cells = {arm: [Cell(options.experiment, arm, rate, seed) for seed in seeds] for arm, rate in best.items()}
    run_all([cell for group in cells.values() for cell in group], options.jobs)
    table = tabulate([row(arm, best[arm], cells[arm], metrics) for arm in arms], headers="keys", tablefmt="github")
    tried = "\n".join(f"- {arm}, {rate}: {score:.4f}" for (arm, rate), score in scores.items())
    record = json.loads((cells[next(iter(arms))][0].run_dir / "run.json").read_text())
    hardware, versions = record["hardware"], record["versions"]
    report = Path("experiments/results") / f"{options.experiment.stem}.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(
        f"# {options.experiment.stem}\n\n    python {' '.join(sys.argv)}\n\n"
        f"{table}\n\nMean ± standard deviation over seeds. Each arm's learning rate was chosen on validation "
        f"({metrics[0]}, seed {seeds[0]}):\n\n{tried}\n\n"
        f"{hardware['processor']}, {hardware['cores']} cores, {options.jobs} trainings at a time with "
        f"{hardware['threads']} thread(s) each, {record['precision']}; torch {versions['torch']}, "
        f"transformers {versions['transformers']}, peft {versions['peft']}, lightning {versions['lightning']}.\n"
    )
    print(f"wrote {report}")


if __name__ == "__main__":
    main()

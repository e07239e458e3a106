"""How often a slice is reported in data without slices, and how often a planted one is found.

    PYTHONPATH=. python experiments/insight/slices.py

Writes experiments/results/slices.md. `--sets 20` measures fewer data sets, and writes nothing.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from ftlit.insight.errors.slices.features import frame_features
from ftlit.insight.errors.slices.search import find_slices, members
from ftlit.util.files import write_text

BASE, PLANTED = 0.1, 0.3  # error rates outside and inside of the planted slice
SHARE = (0.025, 0.035)  # of the rows that are in it
OVERLAP = 0.5  # of a slice and the planted one (Jaccard) from which it counts as found


@dataclass(frozen=True)
class World:
    """Data sets with known slices.

    Args:
        name: What the table calls it.
        rows: Number of rows.
        planted: Number of properties of the slice that has more errors; 0 for none.
        continuous: Whether losses are exponential instead of 0 and 1, with the same means.
        document: Number of rows of a document, whose error rate varies around the mean.
    """

    name: str
    rows: int = 4000
    planted: int = 0
    continuous: bool = False
    document: int = 1

    def draw(self, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray, np.ndarray | None, np.ndarray]:
        """Properties, losses, documents and the planted slice of a new data set."""
        n = self.rows
        sources = np.array(["news", "forum", "mail", "shop"], dtype=object)
        frame = pd.DataFrame(
            {
                "length": rng.lognormal(4.5, 0.7, n).round(),
                "unknown": np.where(rng.random(n) < 0.7, 0.0, rng.random(n).round(2)),
                "negation": rng.random(n) < 0.2,
                "digits": rng.random(n) < 0.15,
                "label": rng.choice([f"label{i}" for i in range(6)], n, p=[0.4, 0.25, 0.15, 0.1, 0.07, 0.03]),
                "source": rng.choice(sources, n, p=[0.5, 0.25, 0.15, 0.1]),
                "year": rng.integers(2010, 2026, n),
                "topic": rng.choice([f"topic{i}" for i in range(12)], n),
            }
        )
        planted = self._slice(frame, rng)
        rates = np.where(planted, PLANTED, BASE)
        documents = None
        if self.document > 1:
            documents = np.arange(n) // self.document
            spread = rng.beta(0.5, 4.5, n // self.document + 1) / 0.1  # correlation of 0.17 within a document
            rates = np.clip(rates * spread[documents], 0, 1)
        losses = rng.exponential(rates) if self.continuous else (rng.random(n) < rates).astype(float)
        return frame, losses, documents, planted

    def _slice(self, frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
        """A random conjunction with the wanted share of the rows."""
        features = frame_features(frame)
        while self.planted:
            chosen = rng.choice(len(features), self.planted, replace=False)
            predicates = [(features[i].name, rng.choice(list(features[i].values))) for i in chosen]
            found = members(features, predicates)
            if SHARE[0] <= found.mean() <= SHARE[1]:
                return found
        return np.zeros(len(frame), dtype=bool)


def outcome(world: World, seed: int) -> tuple[int, bool]:
    """Number of slices that are reported of a new data set, and whether the planted one is among them."""
    frame, losses, documents, planted = world.draw(np.random.default_rng(seed))
    found = find_slices(frame, losses, documents)
    features, reported = frame_features(frame), found[found["confirmed"]]
    overlaps = []
    for predicates in reported["predicates"]:
        inside = members(features, predicates)
        overlaps.append((inside & planted).sum() / (inside | planted).sum())
    return len(reported), max(overlaps, default=0.0) >= OVERLAP


WORLDS = [
    World("right and wrong"),
    World("right and wrong", rows=10_000),
    World("right and wrong, documents of 10", document=10),
    World("continuous losses", continuous=True),
    *(World(f"a slice of {count} {'property' if count == 1 else 'properties'}", 10_000, count) for count in (1, 2, 3)),
    *(World("a slice of 2 properties", rows, 2) for rows in (4000, 2000)),
    World("a slice of 2 properties, continuous losses", 10_000, 2, continuous=True),
]


def measured(world: World, sets: int) -> list[str | float]:
    """A line of the table."""
    found = [outcome(world, seed) for seed in range(sets)]
    any_found = np.mean([count > 0 for count, _ in found])
    return [world.name, f"{world.rows:,}", any_found, np.mean([hit for _, hit in found]) if world.planted else "–"]


def report(rows: list[list[str | float]], sets: int, seconds: float) -> str:
    """The table, with the command on top and what its columns are."""
    table = tabulate(rows, ["data", "rows", "any slice reported", "planted slice found"], tablefmt="github", floatfmt=".3f")
    return f"""# The search for slices on simulated data

    PYTHONPATH=. python experiments/insight/slices.py

{table}

{sets} data sets each; {seconds / 60:.1f} minutes on one core. The first lines have no slices, so what is reported there is
false; the promise is 0.05 at most, and the binomial error of such a share is {np.sqrt(0.05 * 0.95 / sets):.3f}. Below,
{SHARE[0]:.1%} to {SHARE[1]:.1%} of the rows, which a random conjunction has, are wrong in {PLANTED:.0%} of cases instead of
{BASE:.0%}. It counts as found if a reported slice has half of the rows that either has (a Jaccard index of {OVERLAP}).

Properties: two numbers in bins, two flags, and columns with 4, 6, 12 and 16 values, with all conjunctions of up to three.
Continuous losses are exponential with the same means. In documents of 10 rows, error rates vary around 10% with a deviation of
12.8 points.
"""


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/slices.md"))
    args = parser.parse_args()
    started, rows = time.process_time(), list[list[str | float]]()
    for world in WORLDS:
        rows.append(measured(world, args.sets))
        print(*rows[-1], f"{time.process_time() - started:.0f} s", flush=True)
    if args.sets >= 200:
        write_text(args.out, report(rows, args.sets, time.process_time() - started))


if __name__ == "__main__":
    main()

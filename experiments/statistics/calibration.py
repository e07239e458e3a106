"""How often studies of simulated arms, whose true values are known, say what is not so; and what they find."""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from tabulate import tabulate

from ftlit.study.statistics.compare import Comparison, Evidence, compare, estimate
from ftlit.util.files import write_text

DRAWS = 500
DIFFICULTY = 1.5  # deviation of examples' difficulty, alike for all models
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    """Where the right answers of models come from; deviations are of log odds.

    Attributes:
        metric: ``accuracy``, or ``F1`` of entities: one a text on average, and false ones where models err.
        seeds: Runs of each arm.
        examples: Test examples.
        seed_effect: Deviation of the runs of an arm.
        taste: Deviation of what an example means to an arm, whichever the seed.
        mean: Mean log odds of the first arm.
    """

    metric: str
    seeds: int
    examples: int
    seed_effect: float
    taste: float
    mean: float = 0.5

    def truth(self, shift: float = 0.0) -> float:
        """The expected metric of an arm over new seeds and new examples, by quadrature."""
        spread = np.hypot(DIFFICULTY, self.taste)
        odds = self.mean + shift + self.seed_effect * NODES[:, None] + spread * NODES[None, :]
        right = expit(odds) @ WEIGHTS
        metric = right if self.metric == "accuracy" else 2 * right / (2 * right + 1.5 * (1 - right))
        return float(metric @ WEIGHTS)

    def shift(self, difference: float) -> float:
        """The change of log odds that makes an arm better by `difference`."""
        return brentq(lambda shift: self.truth(shift) - self.truth() - difference, -1, 20)

    def study(self, shifts: list[float], rng: np.random.Generator) -> dict[str, Evidence]:
        """Evidence of arms whose log odds are shifted."""
        difficulty = rng.normal(0, DIFFICULTY, self.examples)
        entities = rng.poisson(1.0, self.examples)
        return {f"arm {i}": self._arm(difficulty, entities, shift, rng) for i, shift in enumerate(shifts)}

    def _arm(self, difficulty: np.ndarray, entities: np.ndarray, shift: float, rng: np.random.Generator) -> Evidence:
        own = rng.normal(0, self.taste, self.examples) + difficulty
        right = expit(self.mean + shift + own + rng.normal(0, self.seed_effect, (self.seeds, 1)))
        if self.metric == "accuracy":
            found = rng.random(right.shape) < right
            return Evidence(np.stack([found, np.ones_like(found)], -1).astype(float), accuracy)
        hits = rng.binomial(entities, right)
        false = rng.binomial(2, (1 - right) / 4)
        return Evidence(np.stack([hits, false, entities - hits], -1).astype(float), f1)


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Share of right answers."""
    return sums[..., 0] / sums[..., 1]


def f1(sums: np.ndarray) -> np.ndarray:
    """F1 of true positives, false positives and misses."""
    hits, false, missed = np.moveaxis(sums, -1, 0)
    return 2 * hits / np.maximum(2 * hits + false + missed, 1)


def false_verdicts(world: World, studies: int, seed: int, arms: int = 4) -> float:
    """Share of studies without a true difference that find one, over all pairs by Holm."""
    rng = np.random.default_rng(seed)
    pairs = [(f"arm {i}", f"arm {j}") for i, j in combinations(range(arms), 2)]
    found = (compare(world.study([0.0] * arms, rng), pairs, draws=DRAWS) for _ in range(studies))
    return float(np.mean([any(one.different for one in study) for study in found]))


def two_arms(world: World, difference: float, studies: int, seed: int) -> Iterator[tuple[Comparison, bool]]:
    """Comparisons of two arms that truly differ, and whether the better one's own interval holds its value."""
    rng = np.random.default_rng(seed)
    shift = world.shift(difference)
    truth = world.truth(shift)
    for _ in range(studies):
        arms = world.study([shift, 0.0], rng)
        alone = estimate(arms["arm 0"], draws=DRAWS)
        yield compare(arms, [("arm 0", "arm 1")], draws=DRAWS)[0], alone.low <= truth <= alone.high


def known_difference(world: World, studies: int, seed: int) -> list[float]:
    """Where two arms differ by what such studies say that they can detect: coverage of the difference and of one arm, what
    they say on average and its tenth and last tenth, and power."""
    said = [one.detectable for one, _ in two_arms(world, 0.0, studies // 4, seed)]
    stated = float(np.mean(said))
    found, alone = zip(*two_arms(world, stated, studies, seed + 1), strict=True)
    covered = np.mean([one.low <= stated <= one.high for one in found])
    power = np.mean([one.different for one in found])
    return [float(value) for value in (covered, np.mean(alone), stated, *np.quantile(said, (0.1, 0.9)), power)]


def worlds() -> Iterator[tuple[str, World]]:
    """Mixes of what seeds and examples do, from seeds that decide nearly all to seeds that decide nothing."""
    mixes = {"seeds": (0.3, 0.3), "both": (0.2, 0.5), "examples": (0.05, 1.0), "chance": (0.0, 0.0)}
    for name, (seed_effect, taste) in mixes.items():
        for metric in ("accuracy", "F1"):
            for seeds in (3, 5):
                yield name, World(metric, seeds, 300, seed_effect, taste)
    for seeds, examples, mean in ((2, 300, -1.5), (3, 1000, 0.5), (5, 1000, 0.5), (10, 300, 0.5)):
        yield "both", World("F1", seeds, examples, *mixes["both"], mean)
    for metric in ("accuracy", "F1"):
        yield "examples, one seed", World(metric, 1, 300, 0.0, 1.0)


def measured(studies: int) -> list[list[str | float]]:
    """A row for each world."""
    rows: list[list[str | float]] = []
    for i, (name, world) in enumerate(worlds()):
        found = known_difference(world, studies, seed=1000 * i)
        false = false_verdicts(world, studies, seed=1000 * i + 500)
        rows.append([name, world.metric, world.seeds, world.examples, false, *found])
        print(*(f"{value:.3f}" if isinstance(value, float) else value for value in rows[-1]), flush=True)
    return rows


def report(rows: list[list[str | float]], studies: int, seconds: float) -> str:
    """The table, with the command on top and what its columns are."""
    head = [
        "what decides",
        "metric",
        "seeds",
        "examples",
        "false verdicts",
        "coverage",
        "one arm",
        "stated",
        "10%",
        "90%",
        "power",
    ]
    table = tabulate(rows, head, tablefmt="github", floatfmt=".3f")
    return f"""# Statistics of studies on simulated arms

    python experiments/statistics/calibration.py --studies {studies}

{table}

{studies} simulated studies a figure, level 0.05, {DRAWS} resamples; {seconds / 60:.0f} minutes on one core.
The binomial error of a share of 0.05 is {np.sqrt(0.05 * 0.95 / studies):.3f}, of 0.8 {np.sqrt(0.8 * 0.2 / studies):.3f}.

- *false verdicts*: share of studies of 4 alike arms that call any of 6 pairs different, by Holm: {_range(rows, 4)}.
- *coverage*: share of 95% intervals of a difference that hold the true one: {_range(rows, 5)}.
- *one arm*: the same of an arm's mean: {_range(rows, 6)}.
- *stated*: the mean of the differences that studies of 2 arms call detectable, and 10% and 90% of them.
- *power*: share of studies that find it where it is true, 0.8 if all is right: {_range(rows, 10)}.

The ranges are of all rows but the one of 2 seeds, which are too few for any claim.

True values are of new seeds and new examples, by quadrature. What decides: seeds (deviation 0.3 of log odds between runs,
0.3 of an example between arms), both (0.2, 0.5), examples (0.05, 1.0), chance (0, 0: arms differ by coin flips only).
"""


def _range(rows: list[list[str | float]], column: int) -> str:
    found = [float(row[column]) for row in rows if row[2] != 2]
    return f"{min(found):.3f} to {max(found):.3f}"


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/statistics.md"))
    args = parser.parse_args()
    started = time.process_time()
    rows = measured(args.studies)
    write_text(args.out, report(rows, args.studies, time.process_time() - started))


if __name__ == "__main__":
    main()

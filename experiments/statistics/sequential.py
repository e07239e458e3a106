"""Error and power of studies that add seeds where verdicts are open, against the runs that they take.

    PYTHONPATH=. python experiments/statistics/sequential.py --studies 1000

Writes experiments/results/sequential.md.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ftlit.study.plan.seeds import SequentialSeeds
from ftlit.study.sequential.course import Course, Found
from ftlit.study.sequential.levels import Looks
from ftlit.study.statistics.compare import Comparison, analyse
from ftlit.study.statistics.runs import per_seed
from ftlit.util.files import write_text

SST2 = (.013, .007, .008, .028, .007, .017, .014, .006, .005, .013, .011, .006, .025, .009)  # fmt: skip
SHARED = 0.0015  # deviation of what the test examples contribute to an arm
NAMES = [f"arm {i}" for i in range(len(SST2))]
PAIRS = [(name, NAMES[0]) for name in NAMES[1:]]
MOST = 30  # seeds of an arm
LEVEL = 0.05
FIXED = (3, 4, 5, 7, 10, 14, 20, 30)  # numbers of seeds of designs to compare with
Design = Callable[[np.ndarray], tuple[dict[tuple[str, str], bool], list[Comparison], int]]


@dataclass
class Tally:
    """What studies of one kind lead to."""

    wrong: list[bool] = field(default_factory=list)  # whether any arm that is alike was called different
    found: list[float] = field(default_factory=list)  # share of the arms that differ that were called different
    covered: list[float] = field(default_factory=list)  # share of the intervals that contain the true difference
    runs: list[int] = field(default_factory=list)


def study(rng: np.random.Generator, worse: int, difference: float) -> np.ndarray:
    """The metric of each arm and seed, ``(arms, seeds)``; the arms after the first `worse` ones are like the first."""
    true = np.zeros(len(NAMES))
    true[1 : 1 + worse] = -difference
    own = rng.permutation(SST2)[:, None] * rng.normal(size=(len(NAMES), MOST))
    return true[:, None] + SHARED * rng.normal(size=(len(NAMES), 1)) + own


def look(metric: np.ndarray, seeds: dict[str, int]) -> list[Comparison]:
    """The comparisons with so many seeds of each arm."""
    arms = {name: per_seed(metric[i, : seeds[name]], tuple(range(seeds[name]))) for i, name in enumerate(NAMES)}
    return analyse(arms, [PAIRS], level=LEVEL, added=dict.fromkeys(NAMES, SHARED**2)).comparisons


def fixed(count: int) -> Design:
    """As many seeds for all arms."""

    def run(metric: np.ndarray) -> tuple[dict[tuple[str, str], bool], list[Comparison], int]:
        found = look(metric, dict.fromkeys(NAMES, count))
        return {(one.arm, one.other): one.different for one in found}, found, count * len(NAMES)

    return run


def sequential(at_most: int) -> Design:
    """Three seeds for all arms, and more where verdicts are open."""
    looks = Looks(SequentialSeeds(3, at_most).looks)

    def run(metric: np.ndarray) -> tuple[dict[tuple[str, str], bool], list[Comparison], int]:
        course = Course(looks, [PAIRS], LEVEL, "holm")
        while not course.ended:
            found = look(metric, course.seeds)
            course.enter({(one.arm, one.other): Found(one.p) for one in found})
        return {pair: p <= LEVEL for pair, p in course.adjusted(0).items()}, found, sum(course.seeds.values())

    return run


DESIGNS: dict[str, Design] = {
    **{f"{count} seeds": fixed(count) for count in FIXED},
    **{f"3 to {most} seeds": sequential(most) for most in (10, 30)},
}


def tally(design: Design, studies: int, worse: int, difference: float) -> Tally:
    """What a design leads to in so many studies, which are the same for all designs."""
    rng, found = np.random.default_rng(0), Tally()
    true = np.array([-difference] * worse + [0.0] * (len(PAIRS) - worse))
    for _ in range(studies):
        verdicts, compared, runs = design(study(rng, worse, difference))
        different = np.array([verdicts[pair] for pair in PAIRS])
        found.wrong.append(bool(different[true == 0].any()))
        found.found.append(float(different[true != 0].mean()) if worse else 0.0)
        found.covered.append(float(np.mean([one.low <= t <= one.high for one, t in zip(compared, true, strict=True)])))
        found.runs.append(runs)
    return found


def report(table: str, studies: int) -> str:
    """The table, with the command on top and what its columns are."""
    return f"""# Sequential seeds: error, power and runs

    PYTHONPATH=. python experiments/statistics/sequential.py --studies {studies}

{table}

Fourteen arms whose deviations over seeds are those measured on SST-2, dealt out anew in each of {studies:,} studies. The metric
of a run is the arm's true value, plus an effect of the test examples that all runs of the arm share (a deviation of {SHARED}),
plus an effect of the seed, both normal. Arms are compared with the first one, of which so many are worse by so much.

- *any false positive*: share of studies that call an arm different that is not; its binomial error is
  {np.sqrt(LEVEL * (1 - LEVEL) / studies):.3f}.
- *power*: share of the arms that are worse which are found. *coverage*: of the 95% intervals of differences, when a study ends.
- *share*: runs, as a share of those of a fixed number of seeds with the same power.
"""


def main() -> None:
    """Simulate the studies and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/sequential.md"))
    args = parser.parse_args()
    studies = args.studies
    rows = []
    for worse, difference in ((0, 0.0), (7, 0.05), (7, 0.02)):
        tallies = {name: tally(design, studies, worse, difference) for name, design in DESIGNS.items()}
        powers, first = np.unique([np.mean(tallies[f"{count} seeds"].found) for count in FIXED], return_index=True)
        for name, one in tallies.items():
            power, runs = float(np.mean(one.found)), float(np.mean(one.runs))
            same = float(np.interp(power, powers, np.array(FIXED)[first] * len(NAMES)))
            values = [np.mean(one.wrong), power if worse else None, np.mean(one.covered), runs, runs / same if worse else None]
            rows.append([worse, difference, name, *values])
    columns = ["arms worse", "by", "design", "any false positive", "power", "coverage", "runs", "share"]
    formats = ("", "g", "", ".3f", ".3f", ".3f", ".0f", ".2f")
    write_text(args.out, report(tabulate(rows, headers=columns, tablefmt="github", floatfmt=formats), studies))


if __name__ == "__main__":
    main()

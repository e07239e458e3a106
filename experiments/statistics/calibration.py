"""How often studies of simulated arms, whose true values are known, say what is not so; and what they find.

    PYTHONPATH=. python experiments/statistics/calibration.py --studies 1000

Writes experiments/results/calibration.md. A row takes about two minutes of one core; `--only` chooses rows by their names.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from tabulate import tabulate

from experiments.statistics.selecting import Selecting
from experiments.statistics.worlds import SEMEVAL, SST2, World
from ftlit.study.statistics.compare import analyse
from ftlit.util.files import write_text

WORSE = 0.05
COLUMNS = (
    "error, baseline",
    "error, pairs",
    "alike: baseline",
    "alike: pairs",
    "coverage",
    "one arm",
    "power, baseline",
    "power, pairs",
)


def measured(world: World, studies: int, seed: int) -> list[float]:
    """What studies of a world claim, in the order of `COLUMNS`.

    Half of the studies have arms of which half are worse, drawn anew for each, and half have arms that are all alike.
    """
    rng, arms = np.random.default_rng(seed), len(world.deviations)
    names = [f"arm {i}" for i in range(arms)]
    families = [[(name, names[0]) for name in names[1:]], list(combinations(names, 2))]
    errors: dict[tuple[bool, str], list[bool]] = {}
    found: dict[str, list[bool]] = {"primary": [], "secondary": [], "coverage": [], "arm": []}
    for number in range(2 * studies):
        alike, profile = number % 2 == 1, rng.permutation(arms)
        drawn = replace(world, deviations=tuple(np.array(world.deviations)[profile]))
        worse = np.zeros(arms)
        worse[rng.permutation(arms)[: 0 if alike else arms // 2]] = WORSE
        truth = np.where(worse > 0, world.truth(WORSE)[profile], world.truth(0.0)[profile])
        evidence, added = drawn.study(worse, rng)
        said = analyse(evidence, families, bounds=(0.0, 1.0), added=added)
        false = {"primary": False, "secondary": False}
        for one in said.comparisons:
            i, j = names.index(one.arm), names.index(one.other)
            real = truth[i] - truth[j]
            if worse[i] == worse[j]:
                false[one.family] |= one.different
            else:
                found[one.family].append(one.different)
            if one.family == "secondary":
                found["coverage"].append(one.low <= real <= one.high)
        found["arm"] += [one.low <= value <= one.high for one, value in zip(said.estimates.values(), truth, strict=True)]
        for family, wrong in false.items():
            errors.setdefault((alike, family), []).append(wrong)
    wrong = [np.mean(errors[alike, family]) for alike in (False, True) for family in ("primary", "secondary")]
    return [float(value) for value in (*wrong, *(np.mean(found[key]) for key in ("coverage", "arm", "primary", "secondary")))]


def worlds() -> Iterator[World]:
    """Profiles of deviations that were measured, and what could go wrong."""
    for seeds in (3, 5):
        for name, deviations, mean in (("SST-2", SST2, 0.85), ("SemEval", SEMEVAL, 0.5)):
            for effects in ("normal", "heavy tails"):
                yield World(f"{name}, {effects}", deviations, seeds, mean=mean, effects=effects)
        yield World("skewed seeds", seeds=seeds, effects="skewed")
        yield World("collapsing seeds", seeds=seeds, collapsing=0.05)
        yield World("seeds decide", (0.05,) * 4, seeds, 300, 0.6)
        yield World("examples decide", (0.005,) * 4, seeds, 300, 0.6, taste=1.0)
        yield World("chance decides", (0.0,) * 4, seeds, 300, 0.6, taste=0.0)
        yield World("near the bound", (0.002,) * 6, seeds, 200, 0.99)
        yield World("rare class", (0.03,) * 6, seeds, 1000, 0.6, rare=True)
        for size in (20, 38):
            for correlation in (0.05, 0.1, 0.5):
                yield World(f"documents of {size}, {correlation}", (0.01,) * 6, seeds, cluster=size, correlation=correlation)
    yield World("SST-2, normal", seeds=10)
    for seeds in (3, 5):
        yield World("two unlike arms", (0.01, 0.05), seeds, 500, 0.8)
    for nested in (True, False):
        for rows in (50, 200, 872):
            for seeds in (3, 5):
                name = f"chosen on {rows} rows, {'by seed' if nested else 'once'}"
                yield Selecting(name, (0.01,) * 6, seeds, rows=rows, nested=nested)


def report(rows: list[list[str | float]], studies: int, seconds: float) -> str:
    """The table, with the command on top and what its columns are."""
    table = tabulate(rows, ["world", "seeds", *COLUMNS], tablefmt="github", floatfmt=".3f")
    return f"""# Calibration of the statistics of studies

    PYTHONPATH=. python experiments/statistics/calibration.py --studies {studies}

{table}

{studies} simulated studies of each kind and world, level 0.05; {seconds / 60:.0f} minutes on one core. The binomial error of a
share of 0.05 is {np.sqrt(0.05 * 0.95 / studies):.3f}.

- *error*: share of studies that call any two arms different that are not, where half of the arms are worse by {WORSE}; among
  the comparisons with a baseline, and among all pairs. *alike*: the same where all arms are alike.
- *coverage*: share of the 95% intervals of differences that hold the true one; *one arm*: the same of an arm's mean.
- *power*: share of the true differences of {WORSE} that are found.

Worlds: accuracy with the deviations over seeds that fourteen tuning methods had on SST-2 and SemEval, 1,000 examples whose
difficulty has a deviation of 1.5 in log odds, 0.3 of an arm, 0.3 of a run. Collapsing seeds: one run in 20 has half the
accuracy. Seeds, examples or chance decide: 4 arms, 300 examples. Near the bound: accuracy 0.99, 200 examples. Rare class: F1 of
a class that 2% of 1,000 examples have. Documents: of 20 or 38 examples that are correlated, with `data.group`. Two unlike arms:
deviations over seeds of 0.01 and 0.05. Chosen: each of 6 arms takes the best of four settings, which lose 0, 0.01, 0.03 and
0.10, by the accuracy of trials on so many rows of validation; each seed for itself (`select.nested`), or once for all seeds.
"""


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--only", default="", help="words in the names of worlds; nothing is written")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/calibration.md"))
    args = parser.parse_args()
    started, rows = time.process_time(), list[list[str | float]]()
    for i, world in enumerate(worlds()):
        if args.only in world.name:
            rows.append([world.name, world.seeds, *measured(world, args.studies, seed=1000 * i)])
            print(*(f"{value:.3f}" if isinstance(value, float) else value for value in rows[-1]), flush=True)
    if not args.only:
        write_text(args.out, report(rows, args.studies, time.process_time() - started))


if __name__ == "__main__":
    main()

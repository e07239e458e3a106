"""Compare every tuning method on SST-2 and SemEval-2010 Task 8, each at its own best learning rate.

    python experiments/tuning_methods.py --jobs 2                        # all; what has finished is not run again
    python experiments/tuning_methods.py sst2 --only full,lora --jobs 1
    python experiments/tuning_methods.py --table                         # the table of what has finished

Four learning rates of each method with one seed, chosen on validation, then three seeds at the best one. The table goes to
experiments/results/tuning_methods.md.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from compare import Comparison, compare, section  # beside this file

RESULTS = Path("experiments/results/tuning_methods.md")
WEIGHTS = ["5e-5", "1e-4", "2e-4", "4e-4"]  # for methods that move the pretrained weights
UPDATES = ["5e-4", "1e-3", "2e-3", "4e-3"]  # for those that add a few
FEW = ["1e-3", "3e-3", "1e-2", "3e-2"]  # for those that train very little
ARMS = {
    "full": WEIGHTS,
    "top_layers": WEIGHTS,
    "frozen": FEW,
    "bitfit": UPDATES,
    "layer_norm": FEW,
    "lora": UPDATES,
    "dora": UPDATES,
    "adalora": UPDATES,
    "ia3": FEW,
    "houlsby": UPDATES,
    "pfeiffer": UPDATES,
    "prompt": FEW,
    "p_tuning": UPDATES,
    "prefix": FEW,
}
SMALL = ("--trainer.check_val_every_n_epoch=3", "--patience=null", "--data.batching.batch_size=16")
EXPERIMENTS = {
    "sst2": (["accuracy"], ("--data.limit_train=600", "--data.limit_validation=400", *SMALL)),
    "semeval2010_task8": (["f1_macro"], ("--data.limit_train=2000", "--trainer.max_epochs=3", *SMALL)),
}


def comparison(name: str, arms: list[str]) -> Comparison:
    """The comparison of some methods on an experiment."""
    metrics, options = EXPERIMENTS[name]
    folder = f"tuning_methods_{name}"
    return Comparison(Path(f"experiments/{name}.yaml"), {a: ARMS[a] for a in arms}, [0, 1, 2], metrics, options, folder)


def write_table(jobs: int) -> None:
    """Write the tables of the methods that have finished."""
    parts = ["# Tuning methods", f"    python experiments/tuning_methods.py --jobs {jobs}"]
    for name, (_, options) in EXPERIMENTS.items():
        given = comparison(name, list(ARMS))
        if best := given.best():
            parts.append(f"## {name}\n\n`experiments/{name}.yaml` with `{' '.join(options)}`.\n\n{section(given, jobs)}")
            if missing := [arm for arm in ARMS if arm not in best]:
                parts.append(f"Not run yet: {', '.join(missing)}.")
        else:
            parts.append(f"## {name}\n\nNot run yet.")
    RESULTS.write_text("\n\n".join(part.rstrip() for part in parts) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"experiments, of {', '.join(EXPERIMENTS)}; all by default")
    parser.add_argument("--only", default=",".join(ARMS), help="methods, by the names of their files in configs/tuning")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    options = parser.parse_args()
    for name in [] if options.table else options.names or list(EXPERIMENTS):
        for arm in options.only.split(","):  # one after the other, so that an interruption leaves whole arms
            compare(comparison(name, [arm]), options.jobs)
    write_table(options.jobs)


if __name__ == "__main__":
    main()

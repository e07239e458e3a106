"""`ftlit predict` beside transformers' pipeline on the same exported folder, and its memory for few rows and for many.

    PYTHONPATH=. python experiments/speed/predict.py --rows 1000000 --small 10000 --peer_rows 20000

Speed: sentences of SST-2 and a classifier of six layers, MiniLM with the head of transformers. Both peers predict blocks of
rows in turn, files written and read included for ftlit; the models are loaded before. The pipeline has its own tokenizer
threads and the best of some batch sizes, found on rows of the same data before. Memory: phrases of one to eight words of these
sentences, and a classifier of one of the layers, since what could grow with the rows does not depend on the layers; each
command is a process of its own. Both models are trained on a few rows here, unless `--run` gives the first. Writes
experiments/results/predict.md.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from shared import BACKBONE, machine, ratio
from tabulate import tabulate
from transformers import pipeline

from ftlit.exports import predict

DATA = "data/sst2"
RESULTS = Path("experiments/results/predict.md")
BATCHES = (1, 8, 32, 64, 128)
TURNS, TRIED_ROWS = 5, 400
FTLIT = [sys.executable, "-m", "ftlit"]


def sentences(folder: str) -> list[str]:
    """All sentences of SST-2."""
    found: list[str] = []
    for split in ("train", "validation", "test"):
        with (Path(folder) / f"{split}.tsv").open(encoding="utf-8") as file:
            found += [row["sentence"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return found


def phrases(texts: list[str], count: int) -> list[str]:
    """Phrases of one to eight words, each sentence from another word in each round."""
    words = [text.split() for text in texts]
    begins = ((i // len(words), words[i % len(words)], 1 + i % 8) for i in range(count))
    return [" ".join((found[begin % len(found) :] or found)[:length]) for begin, found, length in begins]


def trained(folder: Path, data: str, *options: str) -> Path:
    """A run of a few steps, which is enough for a model that is timed."""
    common = [
        *("fit", f"--run_dir={folder}", "--model=TextClassification", f"--model.backbone={BACKBONE}"),
        *("--data=TextClassificationData", f"--data.dataset={data}", "--data.text=sentence", "--data.max_length=128"),
        *("--data.limit_train=64", "--data.limit_validation=64", "--trainer.max_epochs=1"),
        "--trainer.enable_progress_bar=false",
    ]
    subprocess.run([*FTLIT, *common, *options], check=True, stdout=subprocess.DEVNULL)
    return folder


def exported(run: Path, folder: Path) -> Path:
    """The folder of a run that transformers opens, too."""
    subprocess.run([*FTLIT, "export", "--run", str(run), "--output", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


def write_rows(file: Path, texts: list[str]) -> Path:
    """The texts as jsonl."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"sentence": text}) + "\n" for text in texts)
    return file


# Speed


def best_batch(peer: Any, texts: list[str]) -> tuple[int, dict[int, float]]:
    """The batch size with which the pipeline is fastest, and rows a second with each."""
    speeds = {}
    for size in BATCHES:
        began = time.perf_counter()
        peer(texts, batch_size=size)
        speeds[size] = len(texts) / (time.perf_counter() - began)
    return max(speeds, key=speeds.__getitem__), speeds


def own(folder: Path, file: Path) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of a whole command but for loading, and its predictions."""
    output = file.with_suffix(".out.jsonl")
    began = time.perf_counter()
    predict.predict(str(folder), str(file), str(output))
    seconds = time.perf_counter() - began
    return seconds, [json.loads(line) for line in output.read_text("utf-8").splitlines()]


def in_turn(folder: Path, peer: Any, size: int, texts: list[str], place: Path) -> dict[str, list[float]]:
    """Seconds of both peers for each block of rows; they begin in turn."""
    opened = predict.load(folder)
    predict.load = lambda *_: opened  # it is not timed
    seconds: dict[str, list[float]] = {"ftlit predict": [], "pipeline": []}
    block = -(-len(texts) // TURNS)
    for turn, some in enumerate(texts[i : i + block] for i in range(0, len(texts), block)):
        file = write_rows(place / f"{turn}.jsonl", some)
        if turn % 2 == 0:
            took, found = own(folder, file)
        began = time.perf_counter()
        expected = peer(some, batch_size=size)
        seconds["pipeline"].append(time.perf_counter() - began)
        if turn % 2:
            took, found = own(folder, file)
        seconds["ftlit predict"].append(took)
        check(found, expected)
    return seconds


def check(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Both must give the same labels, where they are not at even odds, and the same scores."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert abs(mine["score"] - theirs["score"]) < 1e-4, (mine, theirs)
        assert mine["prediction"] == theirs["label"] or mine["score"] < 0.5001, (mine, theirs)


# Memory


def peak(folder: Path, file: Path, output: Path) -> tuple[float, float]:
    """Peak memory in MiB and seconds of a command in a process of its own."""
    began = time.perf_counter()
    command = [*FTLIT, "predict", "--run", str(folder), "--input", str(file), "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024, time.perf_counter() - began


def memory(folder: Path, texts: list[str], counts: list[int], place: Path) -> list[list[str]]:
    """A line of the table for each number of rows."""
    lines, first = [], 0.0
    for count in counts:
        used, seconds = peak(folder, write_rows(place / "rows.jsonl", phrases(texts, count)), place / "out.parquet")
        first = first or used
        lines.append([f"{count:,}", f"{used:.0f}", f"{used / first:.3f}", f"{seconds:.0f}", f"{count / seconds:.0f}"])
    return lines


def report(given: argparse.Namespace, rows: int, seconds: dict[str, list[float]], batch: str, lines: list[list[str]]) -> str:
    """The page of results."""
    options = " ".join(f"--{name} {value}" for name, value in vars(given).items() if value is not None)
    speeds = [[name, f"{rows / sum(took):.0f}"] for name, took in seconds.items()]
    faster = ratio(seconds["ftlit predict"], seconds["pipeline"])
    return (
        "# Predicting for many rows\n\n"
        f"    PYTHONPATH=. python experiments/speed/predict.py {options}\n\n"
        f"{tabulate(speeds, headers=['SST-2, six layers', 'rows a second'], tablefmt='github')}\n\n"
        f"`ftlit predict` is faster by {faster} (over all {len(seconds['pipeline'])} turns, and the middle half of them). "
        f"{batch} Both gave the same labels and scores.\n\n"
        f"{tabulate(lines, headers=['rows', 'peak MiB', 'of the first', 'seconds', 'rows a second'], tablefmt='github')}\n\n"
        "Memory and time of whole commands from jsonl to parquet, with phrases of one to eight words and one of the six layers."
        f" {machine()}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the long file")
    parser.add_argument("--small", type=int, default=10_000, help="rows of the short file")
    parser.add_argument("--peer_rows", type=int, default=20_000, help="rows that both peers predict")
    parser.add_argument("--data", default=DATA, help="folder of SST-2")
    parser.add_argument("--run", type=Path, help="finished run of text classification with the head of transformers")
    given = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # for the peer; nothing is forked
    texts = sentences(given.data)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        folder = exported(given.run or trained(place / "run", given.data), place / "folder")
        small = exported(trained(place / "one", given.data, "--model.keep_layers=[0]"), place / "small")
        lines = memory(small, texts, [given.small, given.rows], place)
        peer = pipeline("text-classification", model=str(folder), device=0 if torch.cuda.is_available() else -1)
        size, tried = best_batch(peer, texts[:TRIED_ROWS])
        compared = (texts * (given.peer_rows // len(texts) + 1))[: given.peer_rows]
        seconds = in_turn(folder, peer, size, compared, place)
    batch = "The pipeline's rows a second by its batch size: " + ", ".join(f"{n}: {speed:.0f}" for n, speed in tried.items())
    RESULTS.write_text(report(given, len(compared), seconds, f"{batch}.", lines), encoding="utf-8")
    print(RESULTS.read_text("utf-8"))


if __name__ == "__main__":
    main()

"""Compress three runs in every form, and write what each form costs and loses.

    python -m experiments.compression --data data          # about 35 minutes on two cores
    python -m experiments.compression --data data --few    # a few rows, written nowhere

Trains a MiniLM on SST-2, all weights and with LoRA, and on CoNLL-2003, and measures each form beside its run.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PAGE = Path(__file__).parents[1] / "experiments/results/compression.md"
METHODS = ("onnx", "onnx-int8", "onnx-int4", "bf16", "fp16", "int8")
LORA = ("--model.tuning", "configs/tuning/lora.yaml", "--model.optimizer.init_args.lr", "5e-4")
SMALLEST, FASTEST = 0.3, 1.5  # bars of onnx-int8: share of the bytes, and factor of the rows a second, of float32
SHORT = ("--trainer.max_steps", "6", "--data.limit_validation", "64", "--data.limit_test", "64", "--data.limit_train", "96")
INTRODUCTION = """# Forms of three runs, for CPUs

    python -m experiments.compression --data data

all-MiniLM-L6-v2 in float32 and in each form that `ftlit compress` makes of it, with `--max_drop 0.01`. Every form was measured
in a process of its own, in turns with the others."""


@dataclass(frozen=True)
class Experiment:
    """A run to compress.

    Args:
        title: Title of its section.
        config: Name of the file in experiments/.
        data: Folder of its data.
        options: Further options of `fit`.
    """

    title: str
    config: str
    data: str
    options: tuple[str, ...]


EXPERIMENTS = {
    "sst2-full": Experiment("SST-2, all weights", "sst2", "sst2", ("--trainer.max_epochs", "2")),
    "sst2-lora": Experiment("SST-2, LoRA", "sst2", "sst2", ("--trainer.max_epochs", "2", *LORA)),
    "conll2003": Experiment(
        "CoNLL-2003, all weights", "conll2003", "conll2003", ("--trainer.max_epochs", "2", "--data.limit_train", "5000")
    ),
}


def command(*args: str) -> None:
    """Run a command of ftlit."""
    subprocess.run([sys.executable, "-m", "ftlit", *args], check=True)


def ladder(experiment: Experiment, data: Path, place: Path, few: bool) -> dict[str, Any]:
    """Train a run, compress it, and return the content of compression.json."""
    fit = ["fit", "--config", f"experiments/{experiment.config}.yaml", "--run_dir", str(place / "run")]
    own = ["--data.dataset", str(data / experiment.data), "--trainer.enable_progress_bar", "false", *experiment.options]
    command(*fit, *own, *(SHORT if few else ()))
    rows = ["--rows", "32"] if few else []
    methods = [part for method in METHODS for part in ("--method", method)]
    command("compress", "--run", str(place / "run"), "--output", str(place / "out"), *methods, *rows)
    found = json.loads((place / "out/compression.json").read_text("utf-8"))
    return {**found, "text": (place / "out/compression.md").read_text("utf-8")}


def section(title: str, found: dict[str, Any]) -> str:
    """The result of a run as a section, whose tables are those of its report."""
    text = found["text"].partition("## Result\n")[2].partition("\n## ")[0]
    return f"## {title}\n\n{text.strip()}"


def bars(ladders: dict[str, dict[str, Any]]) -> str:
    """Whether the graphs of 8 bits are as small and as fast as was asked."""
    lines = [
        f"Asked of onnx-int8: at most {SMALLEST:g} of the original's bytes and at least {FASTEST:g} times its rows a second.\n",
        "| run | bytes of the original | rows a second to the original's | to those of onnx in float32 | reached |",
        "|:--|--:|--:|--:|:--|",
    ]
    for name, found in ladders.items():
        rungs = {rung["method"]: rung for rung in found["rungs"]}
        small, original, graph = rungs["onnx-int8"], rungs["original"], rungs["onnx"]
        size, factor, of_graph = small["bytes"] / original["bytes"], speed(small) / speed(original), speed(small) / speed(graph)
        reached = "yes" if size <= SMALLEST and factor >= FASTEST else "no"
        lines.append(f"| {EXPERIMENTS[name].title} | {size:.3f} | {factor:.2f} | {of_graph:.2f} | {reached} |")
    return "\n".join(["## Bars", "", *lines])


def speed(rung: dict[str, Any]) -> float:
    """Rows a second with the best size of batches."""
    return max(rung["rows_per_second"].values())


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with sst2 and conll2003")
    parser.add_argument("--few", action="store_true", help="a few rows and steps, written nowhere")
    given = parser.parse_args(args)
    ladders = {}
    for name, experiment in EXPERIMENTS.items():
        with TemporaryDirectory(prefix="ftlit-compression-") as place:
            ladders[name] = ladder(experiment, given.data.resolve(), Path(place), given.few)
    parts = [INTRODUCTION, *(section(EXPERIMENTS[name].title, found) for name, found in ladders.items()), bars(ladders)]
    text = "\n\n".join(parts) + "\n"
    print(text) if given.few else PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

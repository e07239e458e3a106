"""Export a small run of every task, head and tuning method in every format, and write how far each is from its run.

    python -m experiments.exports

Each export is opened in a process without ftlit, that of ONNX without PyTorch, that of torch without transformers, and compared
with the run.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tabulate import tabulate

from ftlit.__main__ import main as command
from ftlit.util.startup import quiet
from tests.support.every_task import CASES, LORA, Case, run_of
from tests.support.language_models import DECODERS, byte_level, language_model, language_run
from tests.support.runs import METHODS

PAGE = Path(__file__).parents[1] / "experiments/results/exports.md"
FORMATS = {
    "transformers": [],
    "adapter": ["--adapter-only"],
    "ONNX": ["--format", "onnx"],
    "torch": ["--format", "torch"],
    "GGUF": ["--format", "gguf"],
}
INTRODUCTION = """# Every export beside its run

    python -m experiments.exports

A number is the largest difference of an export's outputs to those of its run, relative to the largest output, or to 1 if all
are smaller: in a process that has transformers and peft alone, onnxruntime and numpy alone, or torch alone, and with
`ftlit.load`. An export that differs by more than 1e-4 is not written. The models are tiny, with random weights and four steps
of training. For ONNX and torch the batches have one to eight texts of one token to the greatest length; texts are written token
by token. **no** is a refusal, whose sentence stands below."""


class Refusals:
    """Numbers the sentences with which exports are refused."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def mark(self, sentence: str) -> str:
        """`no` with the number of a sentence."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)
        return f"no [{self.sentences.index(sentence) + 1}]"


def difference(run: Path, root: Path, options: list[str], refusals: Refusals) -> str:
    """The difference of an export to its run, or its refusal."""
    errors = io.StringIO()
    with TemporaryDirectory(dir=root) as place, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            command(["export", "--run", str(run), "--output", f"{place}/out", *options])
        except SystemExit:
            return refusals.mark(sentence(errors, root))
        return f"{json.loads(Path(place, 'out/ftlit.json').read_text())['difference']:.1e}"


def sentence(errors: io.StringIO, root: Path) -> str:
    """The sentence in which a command told what is wrong, without the folder of the case."""
    found = (line for line in errors.getvalue().splitlines() if line.startswith("error: "))
    return next(found).removeprefix("error: ").replace(str(root), "…")


def rows_of(cases: list[tuple[list[str], Callable[[Path], Path]]], refusals: Refusals) -> list[list[str]]:
    """Train each case and export it in every format."""
    rows = []
    for names, train in cases:
        with TemporaryDirectory() as place:
            root = Path(place)
            errors = io.StringIO()
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
                    run = train(root)
            except SystemExit:
                rows.append([*names, *[refusals.mark(sentence(errors, root))] * len(FORMATS)])
            else:
                rows.append([*names, *(difference(run, root, options, refusals) for options in FORMATS.values())])
        print(*rows[-1], flush=True)
    return rows


def training(case: Case, **options: Any) -> Callable[[Path], Path]:
    """A function that trains a case in a folder."""
    return lambda root: run_of(case, root, **options)


def chats_of(architecture: str, tuning: dict[str, Any], root: Path) -> Path:
    """Train a decoder with the tokenizer of Qwen2 on chats."""
    return language_run(root, language_model(root / "backbone", architecture, byte_level("qwen2")), chats=True, **tuning)


def settings_of(case: Case) -> str:
    """What distinguishes a case from others of its task."""
    return ", ".join(value if key in ("data", "head") else key for key, value in case[1].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", action="store_true", help="only one case of each table, written nowhere")
    few = parser.parse_args().few
    quiet()
    refusals = Refusals()
    tasks = [
        ([case[0], settings_of(case), name], training(case, **tuning))
        for case in CASES
        for name, tuning in (("Full", {"model__tuning": "Full"}), ("LoRA", LORA))
    ]
    tasks += [
        (["CausalLM", f"chats, {architecture}", name], partial(chats_of, architecture, tuning))
        for architecture in DECODERS
        for name, tuning in (("Full", {"model__tuning": "Full"}), ("LoRA", LORA))
    ]
    methods = [
        ([case[0], method], training(case, **{"model__tuning": method, **options}))
        for case in (CASES[0], *(case for case in CASES if case[1]["data"] in ("chats", "reversals")))
        for method, options in METHODS.items()
    ]
    count = 1 if few else None
    parts = [
        INTRODUCTION,
        "## Tasks and heads",
        _table(["task", "data, head", "tuning"], rows_of(tasks[:count], refusals)),
        "## Tuning methods",
        _table(["task", "method"], rows_of(methods[:count], refusals)),
        "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(refusals.sentences, 1)),
    ]
    text = "\n\n".join(parts) + "\n"
    print(text) if few else PAGE.write_text(text, encoding="utf-8")


def _table(names: list[str], rows: list[list[str]]) -> str:
    return tabulate(rows, headers=[*names, *FORMATS], tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()

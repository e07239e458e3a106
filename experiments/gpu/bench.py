"""What every check works with: its folders, its sizes, ftlit's command line, and the ways to fail or to be skipped."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Failed(Exception):  # noqa: N818  its text is the finding
    """What ftlit did is wrong."""


class Skipped(Exception):  # noqa: N818
    """The check cannot run here; the text says why."""


@dataclass(frozen=True)
class Sizes:
    """Shapes of models and data, and lengths of runs.

    Args:
        bert: Settings of the BERT configuration.
        llama: Settings of the Llama configuration.
        rows: Rows of train, validation and test.
        words: The fewest and the most words of a text.
        fit_rows: Training rows of the run that the first checks share.
        save_every: Optimizer steps between its checkpoints.
        few_rows: Training rows of the short runs.
        batch: Examples of an optimizer step.
        speed_steps: Optimizer steps of each peer in the speed pairs.
        turn_steps: Optimizer steps after which a peer hands over to the next.
        peak: Side of the square matrices of the peak.
        rates: Learning rates of full tuning and of LoRA.
    """

    bert: dict[str, int]
    llama: dict[str, int]
    rows: tuple[int, int, int]
    words: tuple[int, int]
    fit_rows: int
    save_every: int
    few_rows: int
    batch: int
    speed_steps: int
    turn_steps: int
    peak: int
    rates: tuple[float, float]


REAL = Sizes(
    bert={},  # transformers' defaults are BERT-base
    llama={
        "vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32,
        "num_key_value_heads": 4, "intermediate_size": 5632, "max_position_embeddings": 2048,
    },
    rows=(4096, 256, 256), words=(16, 120), fit_rows=1536, save_every=36, few_rows=256, batch=32,
    speed_steps=60, turn_steps=5, peak=8192, rates=(3e-5, 3e-4),
)  # fmt: skip
TINY = {"vocab_size": 2100, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
DRY = Sizes(
    bert=TINY, llama={**TINY, "num_key_value_heads": 2, "max_position_embeddings": 512},
    rows=(512, 64, 64), words=(4, 20), fit_rows=512, save_every=5, few_rows=64, batch=32,
    speed_steps=12, turn_steps=2, peak=256, rates=(5e-3, 2e-2),
)  # fmt: skip


@dataclass
class Bench:
    """The place of a check.

    Args:
        scratch: Folder of models, data and runs.
        dry: Whether shapes are tiny and everything runs on the CPU.
        figures: What the present check has measured.
    """

    scratch: Path
    dry: bool
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> Sizes:
        """Shapes and lengths."""
        return DRY if self.dry else REAL

    def note(self, **figures: Any) -> None:
        """Keep figures of the present check; they are reported even if it fails later."""
        self.figures.update(figures)

    def run_dir(self, name: str) -> Path:
        """The folder of a run."""
        return self.scratch / "runs" / name

    def finished(self, name: str) -> bool:
        """Whether a run is there and was completed."""
        return read_json(self.run_dir(name) / "run.json").get("status") == "completed"

    def fit(self, name: str, options: list[str]) -> Path:
        """Train a run, in place of an earlier one of this name.

        Args:
            name: Name of the run's folder.
            options: Its options, without the folder.
        """
        command(["fit", f"--run_dir={self.run_dir(name)}", "--overwrite", *options])
        return self.run_dir(name)


def command(arguments: list[str]) -> None:
    """Run a command of ftlit in this process.

    Raises:
        Failed: It refused its arguments.
    """
    from ftlit.__main__ import main

    sys.argv = ["ftlit"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            main(arguments)
    except SystemExit as left:
        if left.code:
            text = said.getvalue()
            raise Failed(f"ftlit {arguments[0]} left with {text[text.rfind('error:') :].strip()}") from None
    finally:
        sys.stderr.write(said.getvalue())


def expect(condition: bool, text: str) -> None:
    """Fail the check unless a condition holds.

    Raises:
        Failed: With the text.
    """
    if not condition:
        raise Failed(text)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file, empty if there is none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a jsonl file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

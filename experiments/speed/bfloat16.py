"""Speed of `bf16-mixed` on this processor beside float32, step by step in turn.

    python experiments/speed/bfloat16.py --data data/sst2 --steps 20

A bare PyTorch loop twice, on the very same random batches of 32, with fused AdamW: in float32, and with Lightning's
`bf16-mixed` (autocast to bfloat16). Writes experiments/results/bfloat16.md where the processor multiplies bfloat16, else
experiments/results/bfloat16_missing.md.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from shared import BATCH, Turn, Turns, bare, data_of, model, ratio, write_report

from ftlit.training.bfloat16 import native_bfloat16
from ftlit.util.startup import quiet

PEERS: dict[str, Callable[[], Precision]] = {
    "float32": Precision,
    "autocast": lambda: MixedPrecision("bf16-mixed", "cpu"),
}


def build(precision: Precision) -> Any:
    """The model, whose forward pass is taken in a precision."""
    net = model()
    forward = net.forward

    def taken(**batch: torch.Tensor) -> Any:
        with precision.forward_context():
            return forward(**batch)

    net.forward = taken
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of each")
    options = parser.parse_args()
    quiet()
    rows, turns = data_of(options.data, options.steps * BATCH), Turns([*PEERS])

    def train(precision: Precision) -> Callable[[Turn], None]:
        return lambda turn: bare(turn, rows, lambda: build(precision))

    turns.run({name: train(make()) for name, make in PEERS.items()})
    seconds = turns.seconds
    table = [
        ["autocast to bfloat16 / float32", ratio(seconds["autocast"], seconds["float32"])],
    ]
    native = native_bfloat16(torch.device("cpu"))
    name, does = ("bfloat16", "multiplies") if native else ("bfloat16_missing", "does not multiply")
    note = (
        f"{options.steps} steps of {BATCH} SST-2 sentences, the same for all, step by step in turn, on all-MiniLM-L6-v2, fused "
        f"AdamW. This processor {does} bfloat16 by itself."
    )
    write_report(name, f"Speed of bf16-mixed on a processor that {does} bfloat16", "bfloat16.py", options, table, note)


if __name__ == "__main__":
    main()

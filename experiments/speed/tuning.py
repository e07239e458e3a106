"""Speed of LoRA in ftlit beside plain peft in a bare PyTorch loop, and the cost of the tripwires, in turn within one call.

    python experiments/speed/tuning.py --data data/sst2 --rounds 5

The same work for all: random batches of 32 in float32, equal tokens, LoRA of rank 8 on all linear layers but the pooler, and
the head, fused AdamW, no clipping. Ratios of examples a second are taken within a round, so that a machine that changes its
speed does not matter. What the tripwires cost is also timed inside them. Writes experiments/results/tuning_speed.md.
"""

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

from peft import LoraConfig, get_peft_model
from shared import BATCH, bare, data_of, equal_work, ftlit, in_turn, model, spread, write_report

from ftlit.quiet import quiet
from ftlit.tripwires import Tripwires

RANK = 8
HOOKS = [name for name in vars(Tripwires) if name == "setup" or name.startswith("on_")]


def plain() -> Any:
    """The model as peft's own documentation tunes it."""
    config = LoraConfig(
        task_type="SEQ_CLS", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", exclude_modules=r".*pooler.*"
    )
    return get_peft_model(model(), config)


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Inside, the time that each call of a tripwire takes is put into a list."""
    hooks = {name: getattr(Tripwires, name) for name in HOOKS}

    def wrapped(hook: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(hook)
        def call(*args: Any, **kwargs: Any) -> None:
            begun = time.perf_counter()
            hook(*args, **kwargs)
            seconds.append(time.perf_counter() - begun)

        return call

    for name, hook in hooks.items():
        setattr(Tripwires, name, wrapped(hook))
    try:
        yield
    finally:
        for name, hook in hooks.items():
            setattr(Tripwires, name, hook)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    quiet()
    sys.argv = [sys.argv[0]]
    rows, shares = data_of(options.data, options.steps * BATCH), []
    work = [*equal_work(options.steps), "--model.tuning=LoRA", f"--model.tuning.r={RANK}"]
    with tempfile.TemporaryDirectory() as folder:

        def guarded() -> float:
            inside: list[float] = []
            with timed(inside):
                seconds = ftlit(f"{folder}/on", options.data, *work)[0]
            shares.append(sum(inside) / seconds)
            return seconds

        peers: dict[str, Callable[[], float]] = {
            "plain peft": lambda: bare(rows, options.steps, plain),
            "ftlit": guarded,
            "without tripwires": lambda: ftlit(f"{folder}/off", options.data, *work, "--tripwires=false")[0],
        }
        found = in_turn(peers, options.rounds)
    table = [
        ["LoRA: ftlit / plain peft in a bare loop", spread([r["plain peft"] / r["ftlit"] for r in found])],
        ["LoRA in ftlit: tripwires on / off", spread([r["without tripwires"] / r["ftlit"] for r in found])],
        ["time inside the tripwires, share of training", spread(shares, 5)],
    ]
    note = (
        f"{options.steps} steps of {BATCH} SST-2 sentences in random order on all-MiniLM-L6-v2, float32, fused AdamW, LoRA of "
        f"rank {RANK} on all linear layers but the pooler, {options.rounds} rounds. Bars: 0.97 of plain peft, and tripwires "
        "that cost less than 0.01; the time inside them holds their look at every frozen weight before, at a validation, and "
        "after these few steps."
    )
    write_report("tuning_speed", "Speed of LoRA, and the cost of tripwires", "tuning.py", options, table, note)


if __name__ == "__main__":
    main()

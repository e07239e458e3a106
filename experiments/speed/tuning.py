"""Speed of LoRA in ftlit next to plain peft in a bare PyTorch loop, and the cost of the training checks, step by step in turn.

    python experiments/speed/tuning.py --data data/sst2 --steps 100

The same work for both: the very same random batches of 32 in float32, LoRA of rank 8 on all linear layers but the pooler, and
the head, fused AdamW, no clipping. The cost of the training checks is timed inside them. It writes tuning_speed.md to
experiments/results.
"""

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

from peft import LoraConfig, get_peft_model
from shared import BATCH, Turns, bare, data_of, equal_work, ftlit, model, ratio, write_report

from ftlit.training.checks import TrainingChecks
from ftlit.util.startup import quiet

RANK = 8
HOOKS = [name for name in vars(TrainingChecks) if name == "setup" or name.startswith("on_")]


def plain() -> Any:
    """The model as peft's own documentation tunes it."""
    config = LoraConfig(
        task_type="SEQ_CLS", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", exclude_modules=r".*pooler.*"
    )
    return get_peft_model(model(), config)


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Inside, the time that each call of a training check takes is put into a list."""
    hooks = {name: getattr(TrainingChecks, name) for name in HOOKS}

    def wrapped(hook: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(hook)
        def call(*args: Any, **kwargs: Any) -> None:
            begun = time.perf_counter()
            hook(*args, **kwargs)
            seconds.append(time.perf_counter() - begun)

        return call

    for name, hook in hooks.items():
        setattr(TrainingChecks, name, wrapped(hook))
    try:
        yield
    finally:
        for name, hook in hooks.items():
            setattr(TrainingChecks, name, hook)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of each")
    options = parser.parse_args()
    quiet()
    sys.argv = [sys.argv[0]]
    rows, inside = data_of(options.data, options.steps * BATCH), list[float]()
    work = [*equal_work(options.steps), "--model.tuning=LoRA", f"--model.tuning.r={RANK}"]
    turns = Turns(["plain peft", "ftlit"])
    with timed(inside):
        turns.run({"plain peft": lambda turn: bare(turn, rows, plain), "ftlit": lambda turn: ftlit(turn, options.data, *work)})
    own, peer = turns.seconds["ftlit"], turns.seconds["plain peft"]
    table = [
        ["LoRA: ftlit / plain peft in a bare loop", ratio(own, peer)],
        ["time inside the training checks, share of training", f"{sum(inside) / sum(own):.5f}"],
    ]
    note = (
        f"{options.steps} steps of {BATCH} SST-2 sentences, the same for both, step by step in turn, on all-MiniLM-L6-v2, "
        f"float32, fused AdamW, LoRA of rank {RANK} on all linear layers but the pooler. Bars: 0.97 of plain peft, and less "
        "than 0.01 for the training checks, including their look at every frozen weight before and after training."
    )
    write_report("tuning_speed", "Speed of LoRA, and the cost of the training checks", "tuning.py", options, table, note)


if __name__ == "__main__":
    main()

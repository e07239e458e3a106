"""What arms that share a frozen backbone could gain on a CPU if their batches passed through it together.

    python experiments/speed/sharing.py --data data/sst2 --turns 6 --threads 1

The frozen layers are most of the work of a LoRA arm. If several arms passed through them as one batch, that batch would be as
many times as large, so what it gains in examples a second, forward and backward, is the most that such arms could gain: what
each arm computes for itself, and keeping arms apart, takes some of it. Writes experiments/results/sharing.md.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from shared import data_of, model, ratio, write_report

from ftlit.data.batches.collate import collate
from ftlit.util.machine import keep_freed_memory
from ftlit.util.startup import quiet

BATCH, ARMS = 16, (1, 2, 4, 8)
PRECISIONS = {"bf16-mixed": True, "32-true": False}


def passes(folder: str, bfloat16: bool) -> Callable[[int], float]:
    """A function that passes the batches of so many arms through frozen layers, and returns seconds for an arm."""
    net, data = model().bert.eval().requires_grad_(False), data_of(folder, BATCH)
    rows = data.encoded["train"][:]
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def seconds(arms: int) -> float:
        batch = collate({name: values * arms for name, values in rows.items()}, 0)
        states = net.embeddings(batch["input_ids"]).requires_grad_()
        mask = batch["attention_mask"]
        begun = clock()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            found = net(inputs_embeds=states, attention_mask=mask).last_hidden_state
        found.float().sum().backward()
        return (clock() - begun) / arms

    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument("--turns", type=int, default=6, help="passes of each size")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch; with one, processor time is measured")
    options = parser.parse_args()
    quiet()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    table = []
    for precision, bfloat16 in PRECISIONS.items():
        run = passes(options.data, bfloat16)
        taken = [[run(arms) for arms in ARMS] for _ in range(options.turns + 1)][1:]  # the first turn warms up
        alone, *together = zip(*taken, strict=True)
        for arms, found in zip(ARMS[1:], together, strict=True):
            table.append([f"{precision}: {arms} arms together", ratio(list(found), list(alone))])
            print(*table[-1], flush=True)
    note = (
        "The speed of the frozen layers of all-MiniLM-L6-v2, forward and backward, for the batches of several arms at once "
        f"over that for a batch of one arm, the same {BATCH} sentences of SST-2 each: the most that arms could gain by passing "
        "through them together."
    )
    write_report("sharing", "Arms that share a frozen backbone on a CPU", "sharing.py", options, table, note)


if __name__ == "__main__":
    main()

"""What a training step costs on a CPU with ftlit's dropout, attention, products and memory settings, and without them.

    python experiments/speed/cpu_step.py --data data/sst2 --steps 20 --threads 2

Steps of one model on the same batches, grouped by length as in a run, once with the modules of transformers as they are and
once with those of ftlit, step by step in turn: forward, backward, clipping and fused AdamW. Writes
experiments/results/speed_cpu.md.
"""

import argparse
import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from shared import BACKBONE, RATE, model, ratio, write_report

from ftlit.data.batches.batching import TrainBatches
from ftlit.data.batches.collate import collate
from ftlit.data.text_classification import TextClassificationData
from ftlit.models.speed.cpu_attention import use_cpu_attention
from ftlit.models.speed.dropout import draw_masks_fast
from ftlit.models.speed.first_token import compute_first_token_only
from ftlit.models.speed.linear import multiply_fast
from ftlit.tuning import Full, LoRA, Tuning
from ftlit.util.machine import MMAP_THRESHOLD, TRIM_THRESHOLD, keep_freed_memory
from ftlit.util.startup import quiet

Batch = dict[str, torch.Tensor]
ARMS: dict[str, Callable[[], Tuning]] = {"full": Full, "LoRA": LoRA}
PRECISIONS = {"bf16-mixed": True, "32-true": False}
KEYS = ("input_ids", "attention_mask", "token_type_ids", "labels")


def batches_of(folder: str, count: int) -> list[Batch]:
    """Batches of 32 sentences in the order of a run."""
    data = TextClassificationData(dataset=folder, backbone=BACKBONE, text="sentence", max_length=128)
    data.setup()
    order = list(TrainBatches(data.batching, data.lengths("train"), data.order_seed))[:count]
    rows = [data.encoded["train"].select([int(row) for row in batch.indices]) for batch in order]
    return [{key: value for key, value in collate({k: r[k] for k in r.column_names}, 0).items() if key in KEYS} for r in rows]


def return_freed_memory() -> None:
    """Let glibc return large pieces of freed memory, with the thresholds to which it rises by itself."""
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_THRESHOLD, 32 << 20)
    library.mallopt(TRIM_THRESHOLD, 64 << 20)


def stepper(tuning: Tuning, bfloat16: bool, fast: bool) -> Callable[[Batch], None]:
    """A function that takes a training step of a new model."""
    torch.manual_seed(0)
    net = model()
    net.bert = tuning.apply(net.bert)
    if fast:
        draw_masks_fast(net)
        use_cpu_attention(net)
        compute_first_token_only(net, net.bert)
        multiply_fast(net)
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01, fused=True)

    def step(batch: Batch) -> None:
        (keep_freed_memory if fast else return_freed_memory)()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = net(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds_of(steppers: list[Callable[[Batch], None]], batches: list[Batch]) -> list[list[float]]:
    """The seconds of each step of each, in turn, without the first three."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: list[list[float]] = [[] for _ in steppers]
    for batch in batches:
        for step, own in zip(steppers, taken, strict=True):
            begun = clock()
            step(batch)
            own.append(clock() - begun)
    return [own[3:] for own in taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/sst2", help="folder of SST-2: columns sentence and label")
    parser.add_argument("--steps", type=int, default=20, help="steps of each")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch; with one, processor time is measured")
    options = parser.parse_args()
    quiet()
    torch.set_num_threads(options.threads)
    batches = batches_of(options.data, options.steps + 3)
    table: list[list[Any]] = []
    for arm, tuning in ARMS.items():
        for precision, bfloat16 in PRECISIONS.items():
            old, new = seconds_of([stepper(tuning(), bfloat16, fast) for fast in (False, True)], batches)
            table.append([f"{arm}, {precision}", ratio(new, old)])
            print(*table[-1], f"{1000 * sum(old) / len(old):.0f} ms {1000 * sum(new) / len(new):.0f} ms", flush=True)
    note = (
        f"The speed of ftlit's steps over that of transformers' modules: {options.steps} steps of 32 SST-2 sentences, grouped "
        "by length, the same for both, step by step in turn, on all-MiniLM-L6-v2."
    )
    write_report("speed_cpu", "Speed of a training step on a CPU", "cpu_step.py", options, table, note)


if __name__ == "__main__":
    main()

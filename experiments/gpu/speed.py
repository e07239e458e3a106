"""How fast ftlit trains beside a bare PyTorch loop and transformers' Trainer, in turn, and what matrix products reach here."""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench import Bench, read_json
from fits import PLAIN
from material import bert, llama, texts
from shared import BATCH, Turn, Turns, bare, data_of, equal_work, ftlit, now, ratio, trainer
from transformers import AutoModelForSequenceClassification

SAME = {
    "per_device_train_batch_size": BATCH,
    "train_sampling_strategy": "sequential",
    "optim": "adamw_torch_fused",
    "max_grad_norm": 0.0,
}
BEST = {**SAME, "train_sampling_strategy": "group_by_length", "max_grad_norm": 1.0}
RANK = 8
Build = Callable[[], Any]


def peak(bench: Bench) -> None:
    """Operations a second of square matrix products in bfloat16, tf32 and float32."""
    kinds = {"bfloat16": (torch.bfloat16, False), "tf32": (torch.float32, True), "float32": (torch.float32, False)}
    allowed = torch.backends.cuda.matmul.allow_tf32
    try:
        for name, (dtype, tf32) in kinds.items():
            torch.backends.cuda.matmul.allow_tf32 = tf32
            bench.note(**{name: _product_rate(bench.sizes.peak, dtype)})
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    run = read_json(bench.run_dir("full") / "results.json").get("efficiency")
    if run:
        bench.note(peak_in_results=run["matmul_peak_flops_per_second"])


def _product_rate(side: int, dtype: torch.dtype, times: int = 20) -> float:
    """The rate of the median of several products of random matrices."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    taken = []
    for _ in range(times):
        begun = now()
        left @ right
        taken.append(now() - begun)
    return 2 * side**3 / statistics.median(taken[3:])


def bert_same_work(bench: Bench) -> None:
    """BERT-base, all weights: the very same random batches for all, bf16 and fused AdamW, no clipping."""
    _same_work(bench, bert(bench), [], lambda folder: classifier(folder, torch.float32))


def llama_same_work(bench: Bench) -> None:
    """A Llama of 1.1B by LoRA: the same batches and the same arithmetic for all, with frozen weights in float32."""
    options = ["--model.tuning=LoRA", f"--model.tuning.r={RANK}"]
    _same_work(bench, llama(bench), options, lambda folder: adapted(classifier(folder, torch.float32)))


def bert_best_flags(bench: Bench) -> None:
    """BERT-base: ftlit's defaults beside Trainer with bf16, batches of 32 grouped by length and fused AdamW."""
    _own_settings(bench, bert(bench), [], lambda folder: classifier(folder, torch.float32), {**BEST, "bf16": not bench.dry})


def bert_defaults(bench: Bench) -> None:
    """BERT-base: ftlit's defaults beside Trainer's, which are batches of 8 in float32."""
    _own_settings(bench, bert(bench), [], lambda folder: classifier(folder, torch.float32), {})


def llama_best_flags(bench: Bench) -> None:
    """A Llama of 1.1B by LoRA: ftlit's defaults beside peft and Trainer with frozen weights in bfloat16 and the flags above."""
    options, settings = ["--model.tuning=LoRA", f"--model.tuning.r={RANK}"], {**BEST, "bf16": not bench.dry}
    _own_settings(bench, llama(bench), options, lambda folder: adapted(classifier(folder, torch.bfloat16)), settings)


def llama_defaults(bench: Bench) -> None:
    """A Llama of 1.1B by LoRA: ftlit's defaults beside peft and Trainer's."""
    options = ["--model.tuning=LoRA", f"--model.tuning.r={RANK}"]
    _own_settings(bench, llama(bench), options, lambda folder: adapted(classifier(folder, None)), {})


def classifier(folder: Path, dtype: torch.dtype | None) -> Any:
    """The model as transformers loads it, in a type or in that of its files."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    given: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, **given).to(device).train()


def adapted(net: Any) -> Any:
    """A model as peft's own documentation tunes it."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="SEQ_CLS", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")
    return get_peft_model(net, config)


def _mixed(bench: Bench, net: Any) -> Any:
    """A model whose forward pass is taken in bfloat16 on a GPU."""
    forward = net.forward

    def taken(**batch: torch.Tensor) -> Any:
        with torch.autocast(net.device.type, torch.bfloat16, enabled=not bench.dry):
            return forward(**batch)

    net.forward = taken
    return net


def _same_work(bench: Bench, backbone: Path, options: list[str], build: Callable[[Path], Any]) -> None:
    steps = bench.sizes.speed_steps
    rows = data_of(str(texts(bench)), steps * BATCH, str(backbone))
    turns = Turns(["bare loop", "Trainer", "ftlit"], bench.sizes.turn_steps * BATCH)
    exact = [*equal_work(steps), f"--trainer.precision={'32-true' if bench.dry else 'bf16-mixed'}"]
    found = turns.run(
        {
            "bare loop": lambda turn: bare(turn, rows, lambda: _mixed(bench, build(backbone))),
            "Trainer": lambda turn: _trainer(turn, rows, partial(build, backbone), bench, SAME | {"bf16": not bench.dry}),
            "ftlit": lambda turn: _ftlit(turn, bench, backbone, [*exact, *options]),
        }
    )
    _report(bench, turns, found["ftlit"])


def _own_settings(
    bench: Bench, backbone: Path, options: list[str], build: Callable[[Path], Any], settings: dict[str, Any]
) -> None:
    count = bench.sizes.speed_steps * BATCH
    rows = data_of(str(texts(bench)), count, str(backbone))
    turns = Turns(["Trainer", "ftlit"], bench.sizes.turn_steps * BATCH)
    limits = [f"--data.limit_train={count}", "--data.limit_validation=64", "--trainer.max_epochs=1"]
    found = turns.run(
        {
            "Trainer": lambda turn: _trainer(turn, rows, partial(build, backbone), bench, settings),
            "ftlit": lambda turn: _ftlit(turn, bench, backbone, [*limits, *options]),
        }
    )
    _report(bench, turns, found["ftlit"])


def _trainer(turn: Turn, rows: Any, build: Build, bench: Bench, settings: dict[str, Any]) -> None:
    trainer(turn, rows, build, use_cpu=bench.dry, num_train_epochs=1, **settings)


def _ftlit(turn: Turn, bench: Bench, backbone: Path, options: list[str]) -> Path:
    given = [f"--model.backbone={backbone}", "--trainer.accelerator=auto", "--keep_last=false", *PLAIN, *options]
    return ftlit(turn, str(texts(bench)), *given)


def _report(bench: Bench, turns: Turns, run: Path) -> None:
    """Note seconds, ratios, and the share of the peak, without the first turn, in which everything warms up."""
    count = min(len(seconds) for seconds in turns.seconds.values())
    seconds = {name: taken[1:count] for name, taken in turns.seconds.items()}
    cost = read_json(run / "results.json")["efficiency"]
    examples = (count - 1) * bench.sizes.turn_steps * BATCH
    rates = {name: examples / sum(taken) for name, taken in seconds.items()}
    each = _flops_of_an_example(cost)
    work = {name: {"flops_per_second": rate * each} if each else {} for name, rate in rates.items()}
    peers = {name: {"examples_per_second": rate, **work[name]} for name, rate in rates.items()}
    ratios = {f"ftlit / {name}": ratio(seconds["ftlit"], taken) for name, taken in seconds.items() if name != "ftlit"}
    bench.note(peers=peers, ratios=ratios, flops_per_example=each)


def _flops_of_an_example(cost: dict[str, Any]) -> float | None:
    """Operations of both passes of an example with its padding, None where they could not be counted."""
    passes = cost["forward_flops"], cost["backward_flops"]
    return sum(passes) / (cost["train_seconds"] * cost["examples_per_second"]) if None not in passes else None

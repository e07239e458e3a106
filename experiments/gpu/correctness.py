"""Whether runs of ftlit do on this machine what they promise: each function is one check, see `bench.Bench`."""

import csv
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from bench import Bench, Failed, Skipped, command, expect, read_json, read_lines
from compare import compare_runs, largest_score_gap, weights
from material import bert, llama, texts

PLAIN = ["--trainer.enable_progress_bar=false", "--patience=null"]


def options(bench: Bench, backbone: Path, *more: str) -> list[str]:
    """Options of every run: the task, its backbone and data; everything else is ftlit's default."""
    model = ["--model=TextClassification", f"--model.backbone={backbone}"]
    data = ["--data=TextClassificationData", f"--data.dataset={texts(bench)}", "--data.text=sentence"]
    return [*model, *data, *PLAIN, "--trainer.log_every_n_steps=2", *more]


def full_options(bench: Bench) -> list[str]:
    """Options of the run that most checks share: all of BERT, two epochs, evaluated before and after."""
    return options(
        bench,
        bert(bench),
        *(f"--data.limit_train={bench.sizes.fit_rows}", "--trainer.max_epochs=2", "--test_after_fit=true"),
        *(f"--save_every_n_steps={bench.sizes.save_every}", "--model.optimizer=AdamW"),
        *(f"--model.optimizer.lr={bench.sizes.rates[0]}", "--before=true"),
    )


def full(bench: Bench) -> Path:
    """The run that most checks share, trained if it is not there."""
    return bench.run_dir("full") if bench.finished("full") else bench.fit("full", full_options(bench))


def short_options(bench: Bench, *more: str) -> list[str]:
    """Options of a run of a few steps without dropout, weight decay or warm-up."""
    return options(
        bench,
        bert(bench),
        *(f"--data.limit_train={bench.sizes.few_rows}", "--data.limit_validation=64", "--trainer.max_epochs=1"),
        *("--model.optimizer=AdamW", f"--model.optimizer.lr={bench.sizes.rates[0]}", "--model.optimizer.weight_decay=0"),
        *("--model.dropout=0", "--model.schedule=constant", "--keep_last=false", *more),
    )


def fit(bench: Bench) -> None:
    """BERT-base learns: the loss falls, and the evaluation is better than that of the untrained model."""
    run = bench.fit("full", full_options(bench))
    results, (begun, ended) = read_json(run / "results.json"), losses(run)
    untrained, trained = results["before"]["test"]["accuracy"], results["test"]["accuracy"]
    cost = results["efficiency"]
    bench.note(first_loss=begun, last_loss=ended, untrained_accuracy=untrained, test_accuracy=trained)
    bench.note(**_cost(cost))
    _learned(begun, ended, trained)
    expect(trained > untrained + 0.2, f"accuracy on test is {trained:.3f}, untrained {untrained:.3f}")


def resume(bench: Bench) -> None:
    """A run killed by SIGKILL and resumed ends like one that was never stopped, bit for bit."""
    whole = full(bench)
    shutil.rmtree(bench.run_dir("again"), ignore_errors=True)
    killed = killed_and_resumed(bench, "killed", full_options(bench))
    found = compare_runs(whole, killed)
    bench.note(**found)
    if not found["same_bits"]:
        again = bench.fit("again", full_options(bench))
        bench.note(two_whole_runs=compare_runs(whole, again))
        raise Failed(f"the resumed run differs from the whole one by {found['largest_weight_gap']:.3g} in a weight")


def killed_and_resumed(bench: Bench, name: str, given: list[str]) -> Path:
    """A run that is killed after its first checkpoint, in a process of its own, and resumed in this one."""
    run = bench.run_dir(name)
    arguments = ["fit", f"--run_dir={run}", "--overwrite", *given]
    process = subprocess.Popen([sys.executable, "-m", "ftlit", *arguments])
    while not (run / "checkpoints" / "last.ckpt").is_file():
        expect(process.poll() is None, f"the run ended with code {process.poll()} before it wrote last.ckpt")
        time.sleep(0.005)
    process.kill()
    process.wait()
    expect(not (run / "results.json").exists(), "the run was over before it could be killed")
    saved = torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True, mmap=True)
    bench.note(resumed_at_step=saved["global_step"])
    command(["fit", "--resume", "--run_dir", str(run)])
    return run


def deterministic(bench: Bench) -> None:
    """Where the default is not exact to the bit, `--trainer.deterministic true` makes a resumed run so."""
    if not bench.finished("again"):
        raise Skipped("runs have the same bits without it")
    given = [*full_options(bench), "--trainer.deterministic=true"]
    try:
        whole, killed = bench.fit("exact", given), killed_and_resumed(bench, "exact-killed", given)
    finally:
        torch.use_deterministic_algorithms(False)
    found = compare_runs(whole, killed)
    bench.note(**found)
    expect(found["same_bits"], f"the resumed run differs by {found['largest_weight_gap']:.3g} in a weight")


def exactly_once(bench: Bench) -> None:
    """Predictions hold every example of validation and test once, with its own text and label."""
    run = full(bench)
    for split in ("validation", "test"):
        rows = read_lines(texts(bench) / f"{split}.jsonl")
        found = read_lines(run / "predictions" / f"{split}.jsonl")
        ids = [row["id"] for row in found]
        bench.note(**{f"{split}_rows": len(rows), f"{split}_predictions": len(found)})
        expect(len(found) == len(rows), f"{split} has {len(rows)} rows and {len(found)} predictions")
        expect(len({*map(str, ids)}) == len(ids), f"{split}: some example was predicted twice")
        same = all(row["label"] == given["label"] for row, given in zip(found, rows, strict=True))
        expect(same, f"{split}: labels are not those of the rows in their order")
        right = sum(row["prediction"] == row["label"] for row in found) / len(found)
        told = read_json(run / "results.json")[split]["accuracy"]
        expect(abs(right - told) < 1e-6, f"{split}: {right} of the predictions are right, results.json says {told}")


def precision(bench: Bench) -> None:
    """The default is bf16-mixed where the hardware multiplies bfloat16, and weights stay in float32."""
    run = full(bench)
    used = precision_of(run)
    kinds = {str(weight.dtype) for weight in weights(run).values() if weight.is_floating_point()}
    bench.note(precision=used, weights=sorted(kinds))
    expect(kinds == {"torch.float32"}, f"trained weights are {kinds}")
    if torch.cuda.is_available():
        wanted = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        expect(used == wanted, f"precision is {used}, expected {wanted}")


def lora(bench: Bench) -> None:
    """A Llama of 1.1B learns by LoRA, which trains a small share of its weights."""
    _low_rank(bench, "LoRA")


def qlora(bench: Bench) -> None:
    """The same with a backbone of 4 bits, which takes less memory."""
    if find_spec("bitsandbytes") is None:
        raise Skipped("bitsandbytes is not installed")
    _low_rank(bench, "QLoRA")
    full = read_json(bench.run_dir("lora") / "results.json").get("efficiency")
    if full and not bench.dry:
        share = bench.figures["peak_memory_bytes"] / full["peak_memory_bytes"]
        bench.note(memory_share_of_lora=share)
        expect(share < 0.9, f"QLoRA takes {share:.2f} of the memory of LoRA")


def _low_rank(bench: Bench, method: str) -> None:
    backbone = llama(bench)
    given = options(
        bench,
        backbone,
        *(f"--data.limit_train={bench.sizes.fit_rows}", "--trainer.max_epochs=2", f"--model.tuning={method}"),
        *("--test_after_fit=true", "--model.optimizer=AdamW", f"--model.optimizer.lr={bench.sizes.rates[1]}"),
    )
    run = bench.fit(method.lower(), given)
    results, (begun, ended) = read_json(run / "results.json"), losses(run)
    bench.note(first_loss=begun, last_loss=ended, test_accuracy=results["test"]["accuracy"])
    bench.note(trained_share=results["efficiency"]["trained_share"], **_cost(results["efficiency"]))
    _learned(begun, ended, results["test"]["accuracy"])
    expect(bench.dry or results["efficiency"]["trained_share"] < 0.05, "more than a twentieth of the weights trained")


def clipping(bench: Bench) -> None:
    """The clipping of gradients is applied: at a norm of 1e-9 weights hardly move, without it they do."""
    start = bench.fit("clip-none", short_options(bench, "--trainer.gradient_clip_val=null"))
    tight = bench.fit("clip-tight", short_options(bench, "--trainer.gradient_clip_val=1e-9"))
    free, held = _moved(bench, start), _moved(bench, tight)
    bench.note(moved_without=free, moved_with_1e_9=held)
    expect(free > 0, "without clipping no weight moved")
    expect(held < 0.05 * free, f"weights moved by {held:.3g} with a norm of 1e-9 and by {free:.3g} without clipping")


def _moved(bench: Bench, run: Path) -> float:
    """How far the pretrained weights of a run have come, as a norm."""
    from safetensors.torch import load_file

    begun = load_file(bert(bench) / "model.safetensors")
    ended = {name.split("bert.", 1)[-1]: weight for name, weight in weights(run).items()}
    return sum(float((ended[name] - weight).square().sum()) for name, weight in begun.items() if name in ended) ** 0.5


def accumulation(bench: Bench) -> None:
    """Four batches of 8 added up take the steps of one of 32, in float32 and without dropout."""
    common = [
        "--trainer.precision=32-true",
        "--test_after_fit=true",
        "--trainer.log_every_n_steps=1",
        "--data.batching=Shuffled",
    ]
    once = bench.fit("batch-32", short_options(bench, *common, "--data.batching.batch_size=32"))
    added = bench.fit(
        "batch-4x8", short_options(bench, *common, "--data.batching.batch_size=8", "--trainer.accumulate_grad_batches=4")
    )
    gaps = [abs(a - b) for a, b in zip(logged(once), logged(added), strict=True)]
    first, other = weights(once), weights(added)
    apart = sum(float((first[name] - other[name]).square().sum()) for name in first) ** 0.5 / _moved(bench, once)
    bench.note(steps=len(gaps), largest_loss_gap=max(gaps), weight_gap_of_the_distance_moved=apart)
    expect(max(gaps) < 1e-3, f"losses differ by {max(gaps):.3g}")
    expect(apart < 0.1, f"weights differ by {apart:.3g} of the distance that they moved")


def predict(bench: Bench) -> None:
    """`ftlit predict` gives the predictions of the run: the same in float32, nearly so of a run in bfloat16."""
    accumulation_run = bench.run_dir("batch-32")
    expect(bench.finished("batch-32"), f"there is no run in {accumulation_run}: the check of accumulation makes it")
    for name, tolerance, agreement in (("batch-32", 1e-4, 1.0), ("full", 5e-2, 0.98)):
        predicted = predictions(bench, name)
        recorded = read_lines(bench.run_dir(name) / "predictions" / "test.jsonl")
        gap, mean = largest_score_gap(predicted, recorded)
        agree = _mean([a["prediction"] == b["prediction"] for a, b in zip(predicted, recorded, strict=True)])
        key = name.replace("-", "_")
        bench.note(**{f"{key}_largest_gap": gap, f"{key}_mean_gap": mean, f"{key}_agreement": agree})
        expect(gap <= tolerance, f"scores of {name} differ by {gap:.3g} at most")
        expect(agree >= agreement, f"{agree:.4f} of the predictions of {name} are those of the run")


def predictions(bench: Bench, name: str) -> list[dict[str, Any]]:
    """What `ftlit predict` gives for the test texts."""
    output = bench.scratch / f"predicted-{name}.jsonl"
    given = ["--run", str(bench.run_dir(name)), "--input", str(texts(bench) / "test.jsonl"), "--output", str(output)]
    command(["predict", *given, "--scores", "true"])
    return read_lines(output)


def export(bench: Bench) -> None:
    """An exported run, opened by transformers alone, gives the scores of the run."""
    folder, run = bench.scratch / "exported", full(bench)
    command(["export", "--run", str(run), "--output", str(folder), "--overwrite", "true"])
    exact, mixed = reopened(bench, folder), reopened(bench, folder, autocast=precision_of(run) == "bf16-mixed")
    recorded = read_lines(run / "predictions" / "test.jsonl")
    own = largest_score_gap(exact, predictions(bench, "full"))
    lower = largest_score_gap(mixed, recorded)
    bench.note(float32_largest_gap=own[0], bfloat16_largest_gap=lower[0], bfloat16_mean_gap=lower[1])
    expect(own[0] <= 1e-5, f"scores in float32 differ from those of ftlit predict by {own[0]:.3g}")
    expect(lower[1] <= 1e-3, f"scores in bfloat16 differ from those of the run by {lower[1]:.3g} on average")


@torch.inference_mode()
def reopened(bench: Bench, folder: Path, autocast: bool = False) -> list[dict[str, Any]]:
    """Scores that transformers gives for the test texts."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sentences = [row["sentence"] for row in read_lines(texts(bench) / "test.jsonl")]
    found: list[dict[str, Any]] = []
    for start in range(0, len(sentences), 32):
        batch = tokenizer(sentences[start : start + 32], padding=True, return_tensors="pt").to(device)
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            logits = model(**batch).logits
        for scores in logits.float().softmax(-1).tolist():
            found.append({"scores": {model.config.id2label[i]: score for i, score in enumerate(scores)}})
    return found


def memory(bench: Bench) -> None:
    """results.json records the memory that a run took, and on a GPU what was reserved."""
    cost = read_json(full(bench) / "results.json")["efficiency"]
    taken, reserved = cost["peak_memory_bytes"], cost.get("peak_reserved_bytes")
    bench.note(peak_memory_bytes=taken, peak_reserved_bytes=reserved)
    least = 16 * cost["trained_parameters"]  # weight, gradient and both moments of AdamW in float32
    expect(taken >= least, f"{taken} bytes are less than the {least} of weights, gradients and moments")
    if torch.cuda.is_available():
        there = torch.cuda.get_device_properties(0).total_memory
        expect(
            reserved is not None and taken <= reserved <= there, f"{reserved} bytes reserved, {taken} allocated, {there} there"
        )


def logged(run: Path) -> list[float]:
    """The training losses of metrics.csv."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def losses(run: Path) -> tuple[float, float]:
    """The training loss of the first and of the last fifth of a run."""
    found = logged(run)
    fifth = max(len(found) // 5, 1)
    return _mean(found[:fifth]), _mean(found[-fifth:])


def precision_of(run: Path) -> str:
    """The precision in which a run was trained."""
    return yaml.safe_load((run / "config.yaml").read_text("utf-8"))["trainer"]["precision"]


def _learned(first_loss: float, last_loss: float, accuracy: float) -> None:
    """Fail unless the loss fell and most of the test texts, which are easy, are right."""
    fell = f"the loss went from {first_loss:.4f} to {last_loss:.4f}"
    expect(last_loss < 0.8 * first_loss, f"{fell}: it should fall by a fifth at least")
    expect(accuracy > 0.8, f"{fell}, and accuracy on test is only {accuracy:.3f}")


def _cost(cost: dict[str, Any]) -> dict[str, Any]:
    names = ("train_seconds", "examples_per_second", "tokens_per_second", "matmul_peak_share", "peak_memory_bytes")
    return {name: cost[name] for name in names}


def _mean(values: list[Any]) -> float:
    return sum(values) / len(values)

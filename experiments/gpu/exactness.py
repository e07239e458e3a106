"""Checks of what runs promise to the bit or nearly so: resume, every example once, clipping, accumulation."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from bench import Bench, Skipped, command, expect, read_json, read_lines
from fits import SPLITS, compare_runs, full, full_options, logged, mean, short_options, weights
from material import bert, texts
from safetensors.torch import load_file


def resume(bench: Bench) -> None:
    """A run killed by SIGKILL and resumed ends like one that was never stopped.

    That is to the bit where the kernels are deterministic; elsewhere it is as near as two whole runs are to each other.
    """
    shutil.rmtree(bench.run_dir("again"), ignore_errors=True)
    whole, killed = full(bench), _killed_and_resumed(bench, "killed", full_options(bench))
    found = compare_runs(whole, killed)
    bench.note(**found)
    if not found["same_bits"]:
        spread = compare_runs(whole, bench.fit("again", full_options(bench)))
        bench.note(two_whole_runs=spread)
        gap, usual = found["largest_weight_gap"], spread["largest_weight_gap"]
        expect(gap <= 2 * usual, f"the resumed run differs by {gap:.3g} in a weight, two whole runs by {usual:.3g}")


def deterministic(bench: Bench) -> None:
    """Where the default is not exact to the bit, `--trainer.deterministic true` makes a resumed run so."""
    if not bench.finished("again"):
        raise Skipped("a resumed run has the same bits without it")
    given = [*full_options(bench), "--trainer.deterministic=true"]
    try:
        whole, killed = bench.fit("exact", given), _killed_and_resumed(bench, "exact-killed", given)
    finally:
        torch.use_deterministic_algorithms(False)
    found = compare_runs(whole, killed)
    taken, usual = (read_json(run / "results.json")["efficiency"]["train_seconds"] for run in (whole, bench.run_dir("again")))
    bench.note(**found, share_of_the_usual_time=taken / usual)
    expect(found["same_bits"], f"the resumed run differs by {found['largest_weight_gap']:.3g} in a weight")


def _killed_and_resumed(bench: Bench, name: str, given: list[str]) -> Path:
    """A run that is killed after its first checkpoint, in a process of its own, and resumed in this one."""
    run = bench.run_dir(name)
    last, arguments = run / "checkpoints" / "last.ckpt", ["fit", f"--run_dir={run}", "--overwrite", *given]
    shutil.rmtree(run, ignore_errors=True)
    process = subprocess.Popen([sys.executable, "-m", "ftlit", *arguments])
    while not last.is_file():
        expect(process.poll() is None, f"the run ended with code {process.poll()} before it wrote last.ckpt")
        time.sleep(0.005)
    process.kill()
    process.wait()
    expect(not (run / "results.json").exists(), "the run was over before it could be killed")
    saved = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
    bench.note(resumed_at_step=saved["global_step"])
    command(["fit", "--resume", "--run_dir", str(run)])
    return run


def exactly_once(bench: Bench) -> None:
    """Predictions hold every example of validation and test once, in order, and results.json counts them all."""
    run = full(bench)
    for split in SPLITS:
        rows, found = read_lines(texts(bench) / f"{split}.jsonl"), read_lines(run / "predictions" / f"{split}.jsonl")
        bench.note(**{f"{split}_rows": len(rows), f"{split}_predictions": len(found)})
        expect(len(found) == len(rows), f"{split} has {len(rows)} rows and {len(found)} predictions")
        expect(len({str(row["id"]) for row in found}) == len(found), f"some example of {split} was predicted twice")
        same = all(row["label"] == given["label"] for row, given in zip(found, rows, strict=True))
        expect(same, f"the labels of {split} are not those of its rows in their order")
        right, told = mean([row["prediction"] == row["label"] for row in found]), read_json(run / "results.json")
        accuracy = told[split]["accuracy"]
        expect(abs(right - accuracy) < 1e-6, f"{right} of the predictions of {split} are right, results.json says {accuracy}")


def clipping(bench: Bench) -> None:
    """Gradients are clipped: at a norm of 1e-9 weights hardly move, without clipping they do."""
    free = _moved(bench, bench.fit("clip-none", short_options(bench, "--trainer.gradient_clip_val=null")))
    held = _moved(bench, bench.fit("clip-tight", short_options(bench, "--trainer.gradient_clip_val=1e-9")))
    bench.note(moved_without_clipping=free, moved_with_clipping=held)
    expect(free > 0, "without clipping no weight moved")
    expect(held < 0.05 * free, f"weights moved by {held:.3g} with a norm of 1e-9 and by {free:.3g} without clipping")


def accumulation(bench: Bench) -> None:
    """Four batches of 8 added up take the steps of one of 32, in float32 and without dropout."""
    exact = [
        "--trainer.precision=32-true",
        "--trainer.log_every_n_steps=1",
        "--data.batching=Shuffled",
        "--test_after_fit=true",
    ]
    once = bench.fit("batch-32", short_options(bench, *exact, "--data.batching.batch_size=32"))
    added = ["--data.batching.batch_size=8", "--trainer.accumulate_grad_batches=4"]
    small = bench.fit("batch-4x8", short_options(bench, *exact, *added))
    gaps = [abs(a - b) for a, b in zip(logged(once), logged(small), strict=True)]
    first, other = weights(once), weights(small)
    apart = sum(float((first[name] - other[name]).square().sum()) for name in first) ** 0.5 / _moved(bench, once)
    bench.note(steps=len(gaps), largest_loss_gap=max(gaps), weight_gap_as_share_of_the_way=apart)
    expect(max(gaps) < 1e-3, f"losses differ by {max(gaps):.3g}")
    expect(apart < 0.1, f"weights differ by {apart:.3g} of the way that they went")


def _moved(bench: Bench, run: Path) -> float:
    """How far the pretrained weights have come in a run, as a norm."""
    begun = load_file(bert(bench) / "model.safetensors")
    ended = {name.split("bert.", 1)[-1]: weight for name, weight in weights(run).items()}
    return sum(float((ended[name] - weight).square().sum()) for name, weight in begun.items() if name in ended) ** 0.5

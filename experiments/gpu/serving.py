"""Checks that trained models give the same again: by `ftlit predict`, and exported, by transformers alone."""

from pathlib import Path
from typing import Any

import torch
from bench import Bench, command, expect, read_lines
from fits import full, mean, precision_of, score_gaps, short_options
from material import texts
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def predict(bench: Bench) -> None:
    """`ftlit predict` gives the predictions of the run: the same in float32, nearly so of a run in bfloat16."""
    exact = ["--trainer.precision=32-true", "--test_after_fit=true"]
    runs = {"float32": bench.fit("float32", short_options(bench, *exact)), "default": full(bench)}
    limits = {"float32": (1e-4, 1.0), "default": (5e-2, 0.98)}
    for name, run in runs.items():
        predicted, recorded = predictions(bench, run), read_lines(run / "predictions" / "test.jsonl")
        (gap, average), (tolerance, least) = score_gaps(predicted, recorded), limits[name]
        agree = mean([a["prediction"] == b["prediction"] for a, b in zip(predicted, recorded, strict=True)])
        bench.note(**{f"{name}_largest_gap": gap, f"{name}_mean_gap": average, f"{name}_agreement": agree})
        expect(gap <= tolerance, f"scores of the {name} run differ by up to {gap:.3g}")
        expect(agree >= least, f"{agree:.4f} of the predictions of the {name} run are as recorded")


def predictions(bench: Bench, run: Path) -> list[dict[str, Any]]:
    """What `ftlit predict` gives for the test texts."""
    output = bench.scratch / f"predicted-{run.name}.jsonl"
    given = ["--run", str(run), "--input", str(texts(bench) / "test.jsonl"), "--output", str(output)]
    command(["predict", *given, "--scores", "true"])
    return read_lines(output)


def export(bench: Bench) -> None:
    """An exported run, opened by transformers alone, gives the scores of the run."""
    folder, run = bench.scratch / "exported", full(bench)
    command(["export", "--run", str(run), "--output", str(folder), "--overwrite", "true"])
    exact, trained = _reopened(bench, folder), _reopened(bench, folder, autocast=precision_of(run) == "bf16-mixed")
    own, _ = score_gaps(exact, predictions(bench, run))
    gap, average = score_gaps(trained, read_lines(run / "predictions" / "test.jsonl"))
    bench.note(float32_largest_gap=own, precision_of_the_run_largest_gap=gap, precision_of_the_run_mean_gap=average)
    expect(own <= 1e-5, f"scores in float32 differ from those of ftlit predict by up to {own:.3g}")
    expect(average <= 1e-3, f"scores in the run's precision differ from those of the run by {average:.3g} on average")


@torch.inference_mode()
def _reopened(bench: Bench, folder: Path, autocast: bool = False) -> list[dict[str, Any]]:
    """Scores that transformers gives for the test texts."""
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

"""The runs of ftlit that checks look at: their options, and what their folders say."""

import csv
from pathlib import Path
from typing import Any

import torch
import yaml
from bench import Bench, read_json, read_lines
from material import bert, texts

PLAIN = ["--trainer.enable_progress_bar=false", "--patience=null"]
SPLITS = ("validation", "test")

# Options


def classification(bench: Bench, backbone: Path, rate: float, *more: str) -> list[str]:
    """Options of a run of text classification; what they leave out is ftlit's default.

    Args:
        bench: The place of the check.
        backbone: The model.
        rate: The learning rate.
        *more: Further options.
    """
    data = ["--data=TextClassificationData", f"--data.dataset={texts(bench)}", "--data.text=sentence"]
    return ["--model=TextClassification", *common(backbone, rate), *data, *more]


def common(backbone: Path, rate: float) -> list[str]:
    """Options of any run: the model, the optimizer and the log."""
    # By its whole name: bitsandbytes, once it is imported, has classes of the same short one.
    optimizer = ["--model.optimizer=torch.optim.AdamW", f"--model.optimizer.lr={rate}"]
    return [f"--model.backbone={backbone}", *optimizer, *PLAIN, "--trainer.log_every_n_steps=2"]


def full_options(bench: Bench) -> list[str]:
    """Options of the run that most checks share: all of BERT, two epochs, evaluated before and after."""
    length = [f"--data.limit_train={bench.sizes.fit_rows}", "--trainer.max_epochs=2"]
    around = ["--evaluate_untrained=true", "--test_after_fit=true", f"--save_every_n_steps={bench.sizes.save_every}"]
    return classification(bench, bert(bench), bench.sizes.rates[0], *length, *around)


def full(bench: Bench) -> Path:
    """The run that most checks share, trained if it is not there."""
    return bench.run_dir("full") if bench.finished("full") else bench.fit("full", full_options(bench))


def short_options(bench: Bench, *more: str) -> list[str]:
    """Options of a run of a few steps without dropout, weight decay or warm-up."""
    length = [f"--data.limit_train={bench.sizes.few_rows}", "--data.limit_validation=64", "--trainer.max_epochs=1"]
    steady = ["--model.optimizer.weight_decay=0", "--model.dropout=0", "--model.schedule=constant", "--keep_last=false"]
    return classification(bench, bert(bench), bench.sizes.rates[0], *length, *steady, *more)


# Findings


def logged(run: Path) -> list[float]:
    """The training losses of metrics.csv."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def losses(run: Path) -> tuple[float, float]:
    """The mean training loss of the first and of the last fifth of a run."""
    found = logged(run)
    fifth = max(len(found) // 5, 1)
    return mean(found[:fifth]), mean(found[-fifth:])


def mean(values: list[Any]) -> float:
    """The mean of numbers or truth values."""
    return sum(values) / len(values)


def precision_of(run: Path) -> str:
    """The precision in which a run was trained."""
    return yaml.safe_load((run / "config.yaml").read_text("utf-8"))["trainer"]["precision"]


def cost_of(run: Path) -> dict[str, Any]:
    """What a run cost: the figures of its efficiency that a report shows."""
    names = ("train_seconds", "examples_per_second", "tokens_per_second", "matmul_peak_share", "peak_memory_bytes")
    found = read_json(run / "results.json")["efficiency"]
    return {name: found[name] for name in names}


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's best checkpoint."""
    return torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]


# Comparisons


def compare_runs(one: Path, other: Path) -> dict[str, Any]:
    """Whether two runs agree in every bit, and by how much results, scores and weights differ at most."""
    first, second = (read_json(run / "results.json") for run in (one, other))
    apart = [abs(first[split][name] - second[split][name]) for split in SPLITS for name in first[split]]
    files = [f"predictions/{split}.jsonl" for split in SPLITS]
    scores = [score_gaps(read_lines(one / file), read_lines(other / file))[0] for file in files]
    left, right = weights(one), weights(other)
    gaps = [float((left[name].double() - right[name].double()).abs().max()) for name in left]
    same = all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    return {
        "same_bits": same and not any(apart) and not any(gaps),
        "largest_result_gap": max(apart),
        "largest_score_gap": max(scores),
        "largest_weight_gap": max(gaps),
    }


def score_gaps(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> tuple[float, float]:
    """The largest and the mean difference of the scores of two lists of predictions, label by label."""
    pairs = zip(one, other, strict=True)
    gaps = [abs(a["scores"][label] - b["scores"][label]) for a, b in pairs for label in b["scores"]]
    return max(gaps), mean(gaps)

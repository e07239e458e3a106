"""How far two runs, or two lists of predictions, are apart."""

from pathlib import Path
from typing import Any

import torch
from bench import read_json, read_lines

SPLITS = ("validation", "test")


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's best checkpoint."""
    return torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]


def compare_runs(one: Path, other: Path) -> dict[str, Any]:
    """Whether two runs agree in every bit, and by how much results, scores and weights differ at most."""
    first, second = (read_json(run / "results.json") for run in (one, other))
    apart = [abs(first[split][name] - second[split][name]) for split in SPLITS for name in first[split]]
    files = [f"predictions/{split}.jsonl" for split in SPLITS]
    scores = [largest_score_gap(read_lines(one / file), read_lines(other / file))[0] for file in files]
    left, right = weights(one), weights(other)
    gaps = [float((left[name].double() - right[name].double()).abs().max()) for name in left]
    same = all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    return {
        "same_bits": same and not any(apart) and not any(gaps),
        "largest_result_gap": max(apart),
        "largest_score_gap": max(scores),
        "largest_weight_gap": max(gaps),
    }


def largest_score_gap(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> tuple[float, float]:
    """The largest and the mean difference of the scores of two lists of predictions, label by label."""
    gaps = [abs(a["scores"][label] - b["scores"][label]) for a, b in zip(one, other, strict=True) for label in b["scores"]]
    return max(gaps), sum(gaps) / len(gaps)

"""Metrics of text regression against scikit-learn and scipy, and the scale of the target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk
from torch import Tensor

from ftlit.data import TextRegressionData
from ftlit.losses import MSE, Huber
from ftlit.runs.reading import RunFolder
from ftlit.tasks import TextRegression
from tests.support.data import write_splits
from tests.support.runs import fitted
from tests.support.small import ragged_batch

Tiny = Callable[[str], str]
MEAN, DEVIATION = 50.0, 8.0


def module(tiny: Tiny, **options: Any) -> TextRegression:
    torch.manual_seed(0)
    return TextRegression(label_scale=[MEAN, DEVIATION], backbone=tiny("bert"), pad_token_id=0, **options)


def outputs() -> tuple[Tensor, Tensor]:
    """Standardised predictions ``(37, 1)`` and targets ``(37,)`` in their own unit, some of them tied."""
    torch.manual_seed(1)
    logits = torch.randn(37, 1)
    return logits, (MEAN + DEVIATION * (logits.squeeze(1) + torch.randn(37))).round()


def test_metrics_are_in_the_unit_of_the_target(tiny: Tiny) -> None:
    task, (logits, labels) = module(tiny), outputs()
    task.forward = lambda batch: type("Output", (), {"logits": batch["logits"]})  # type: ignore[method-assign, assignment]
    for x, y in zip(logits.split((16, 16, 5)), labels.split((16, 16, 5)), strict=True):
        task.evaluators["val"].update(task, {"logits": x, "labels": y, "loss_denominator": 1.0})
    found = {key: float(value) for key, value in task.evaluators["val"].metrics.compute().items()}
    truth, guess = labels.double().numpy(), (logits.squeeze(1).double() * DEVIATION + MEAN).numpy()
    expected = {
        "mse": sk.mean_squared_error(truth, guess),
        "rmse": sk.root_mean_squared_error(truth, guess),
        "mae": sk.mean_absolute_error(truth, guess),
        "pearson": stats.pearsonr(truth, guess).statistic,
        "spearman": stats.spearmanr(truth, guess).statistic,
    }
    assert found == pytest.approx(expected, abs=1e-6)
    loss = float(task.evaluators["val"].means["loss"].compute())
    assert loss == pytest.approx(expected["mse"] / DEVIATION**2), "the loss is in units of the standardised target"


def test_decoding_gives_back_the_unit(tiny: Tiny) -> None:
    task = module(tiny)
    assert [row["prediction"] for row in task.decode(torch.tensor([[0.0], [1.5]]), {})] == pytest.approx([50.0, 62.0])
    # The prediction of a text whose loss is nil is its label.
    labels = torch.tensor([41.0, 63.5])
    logits = ((labels - MEAN) / DEVIATION)[:, None]
    assert task.losses(logits, {"labels": labels}).abs().max() == 0
    assert [row["prediction"] for row in task.decode(logits, {})] == pytest.approx(labels.tolist())


@pytest.mark.parametrize("loss", [MSE(), Huber()])
def test_the_unit_of_the_target_does_not_change_training(loss: Any, tiny: Tiny) -> None:
    labels = torch.tensor([3.0, 1.0, 2.0, 5.0])
    found = []
    for factor in (1.0, 1000.0):
        torch.manual_seed(0)
        task = TextRegression(label_scale=[2.0 * factor, 1.5 * factor], backbone=tiny("bert"), loss=loss).eval()
        found.append(task.training_step({**ragged_batch(), "labels": labels * factor}, 0))
    torch.testing.assert_close(*found)


def test_the_scale_is_that_of_the_training_rows(tiny: Tiny, grades: str) -> None:
    data = TextRegressionData(dataset=grades, backbone=tiny("bert"), label="score")
    values = torch.tensor(data.rows["train"]["score"], dtype=torch.float64)
    assert data.label_scale == pytest.approx([float(values.mean()), float(values.std(correction=0))])


def test_labels_keep_double_precision(tiny: Tiny, tmp_path: Path) -> None:
    scores = [16777216.0, 16777217.0, 16777218.0, 16777219.0]
    rows = [{"text": f"good word{i}", "score": score} for i, score in enumerate(scores)]
    dataset = write_splits(tmp_path / "large", {"train": rows, "validation": rows})
    data = TextRegressionData(dataset=dataset, backbone=tiny("bert"), label="score")
    data.setup()
    batches = [batch["labels"] for batch in data.val_dataloader()]
    assert sorted(torch.cat(batches).tolist()) == scores
    task = TextRegression(**data.task_arguments(), backbone=tiny("bert"))
    logits = ((torch.tensor(scores, dtype=torch.float64) - task.mean) / task.deviation).float()[:, None]
    assert task.losses(logits, {"labels": torch.tensor(scores, dtype=torch.float64)}).abs().max() == 0


def test_a_run_on_large_numbers_is_measured_exactly(tiny: Tiny, tmp_path: Path) -> None:
    """Seconds since 1970, which single precision rounds to multiples of 128."""
    splits = {
        split: [{"text": f"word{i % 9} word{(i * 7) % 20}", "label": 1.6e9 + (i * 37) % 101 - 50} for i in range(count)]
        for split, count in (("train", 40), ("validation", 12), ("test", 30))
    }
    dataset = write_splits(tmp_path / "times", splits)
    given = {"model__backbone": tiny("bert"), "data__dataset": dataset, "test_after_fit": "true"}
    run = RunFolder(fitted(tmp_path / "run", "TextRegression", **given))
    rows, results = run.prediction_rows("test"), run.results
    assert [row["label"] for row in rows] == [row["label"] for row in splits["test"]]
    truth, guess = (np.array([row[key] for row in rows]) for key in ("label", "prediction"))
    assert results["test"]["mse"] == pytest.approx(np.mean((truth - guess) ** 2), rel=1e-6)
    assert results["test"]["spearman"] == pytest.approx(stats.spearmanr(truth, guess).statistic, abs=1e-6)
    assert results["test"]["pearson"] == pytest.approx(stats.pearsonr(truth, guess).statistic, abs=1e-6)
    mean = np.mean([row["label"] for row in splits["train"]])
    assert results["baseline"]["test"]["mae"] == pytest.approx(np.mean(abs(truth - mean)), rel=1e-9)
    low, high = results["intervals"]["test"]["mse"]
    assert low < results["test"]["mse"] < high


def test_defaults(tiny: Tiny) -> None:
    task = module(tiny)
    assert (task.loss, task.monitor, task.mode) == (MSE(), "val/pearson", "max")
    assert module(tiny, monitor="val/rmse").mode == "min"
    assert TextRegression(backbone=tiny("bert")).decode(torch.tensor([[0.25]]), {}) == [{"prediction": 0.25}]

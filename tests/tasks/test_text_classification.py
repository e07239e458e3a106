"""Metrics of text classification against scikit-learn, and what the model says of an example."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from ftlit.losses import BCE, CrossEntropy
from ftlit.study.statistics.evidence import evidence
from ftlit.tasks import TextClassification

Tiny = Callable[[str], str]
NAMES = ["a", "b", "c"]
SIZES = (16, 16, 5)


def module(tiny: Tiny, **options: Any) -> TextClassification:
    torch.manual_seed(0)
    return TextClassification(label_names=NAMES, backbone=tiny("bert"), pad_token_id=0, **options)


def evaluated(task: TextClassification, logits: Tensor, labels: Tensor) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and report of a split whose batches are of unequal size."""
    for x, y in zip(logits.split(SIZES), labels.split(SIZES), strict=True):
        batch = {"logits": x, "labels": y, "loss_denominator": 1.0}
        task.forward = lambda b: type("Output", (), {"logits": b["logits"]})  # type: ignore[method-assign, assignment]
        task.evaluators["val"].update(task, batch)
    found: dict[str, float] = {}
    task.log_dict = lambda numbers, **options: found.update(numbers)  # type: ignore[method-assign, assignment]
    stage = {"state": SimpleNamespace(fn="validate"), "sanity_checking": False, "world_size": 1}
    task.trainer = SimpleNamespace(**stage)  # type: ignore[assignment]
    task.evaluators["val"].finish(task)
    return {key.removeprefix("val/"): value for key, value in found.items()}, task.evaluators["val"].details


def expected_scores(labels: np.ndarray, predictions: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The metrics that one label and several have in common."""
    found = {}
    for average in ("macro", "micro", "weighted"):
        values = sk.precision_recall_fscore_support(labels, predictions, average=average, zero_division=0)
        found |= dict(zip((f"{name}_{average}" for name in ("precision", "recall", "f1")), values[:3], strict=True))
    found["accuracy"] = sk.accuracy_score(labels, predictions)
    found["auroc"] = sk.roc_auc_score(labels, scores, average="macro", multi_class="ovr")
    return found


def test_metrics_of_one_label(tiny: Tiny) -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(37, 3), torch.randint(3, (37,))
    found, report = evaluated(module(tiny), logits, labels)
    truth, predictions = labels.numpy(), logits.argmax(-1).numpy()
    expected = expected_scores(truth, predictions, logits.softmax(-1).numpy())
    expected["mcc"] = sk.matthews_corrcoef(truth, predictions)
    expected["loss"] = sk.log_loss(truth, logits.double().softmax(-1).numpy())
    assert found == pytest.approx(expected, abs=1e-6)
    assert report["confusion"] == sk.confusion_matrix(truth, predictions).tolist()
    assert report["labels"] == NAMES
    assert report["per_class"][4]["f1"] == pytest.approx(expected["f1_macro"])


def test_metrics_of_several_labels(tiny: Tiny) -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(37, 3), torch.randint(2, (37, 3))
    found, report = evaluated(module(tiny, multi_label=True), logits, labels)
    truth, predictions = labels.numpy(), (logits > 0).numpy().astype(int)
    expected = expected_scores(truth, predictions, logits.sigmoid().numpy())
    expected["mcc"] = sk.matthews_corrcoef(truth.ravel(), predictions.ravel())
    each = [sk.log_loss(truth[:, i], logits[:, i].double().sigmoid().numpy()) for i in range(3)]
    expected["loss"] = float(np.mean(each))
    assert found == pytest.approx(expected, abs=1e-6)
    assert report["confusion"] == sk.multilabel_confusion_matrix(truth, predictions).tolist()


def test_evaluation_starts_anew_after_a_report(tiny: Tiny) -> None:
    task, logits, labels = module(tiny), torch.eye(3)[torch.arange(37) % 3], torch.arange(37) % 3
    first = evaluated(task, logits, labels)[1]
    assert evaluated(task, logits, labels)[1] == first


def test_filler_batches_are_not_counted(tiny: Tiny) -> None:
    task = module(tiny)
    batch = {"input_ids": torch.ones(2, 3).long(), "attention_mask": torch.ones(2, 3).long(), "labels": torch.tensor([0, 1])}
    task.evaluators["val"].update(task, {**batch, "loss_denominator": float("inf")})
    assert task.evaluators["val"].means["loss"].weights == 0
    assert int(task.evaluators["val"].confusion.confmat.sum()) == 0
    task.evaluators["val"].update(task, {**batch, "loss_denominator": 1.0})
    assert int(task.evaluators["val"].confusion.confmat.sum()) == 2
    assert float(task.training_step({**batch, "loss_denominator": float("inf")}, 0)) == 0


def test_decoding_one_label(tiny: Tiny) -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    first, second = module(tiny).decode(logits, {})
    assert (first["prediction"], second["prediction"]) == ("b", "a")
    assert list(first["scores"]) == NAMES
    assert sum(first["scores"].values()) == pytest.approx(1)
    assert first["score"] == first["scores"]["b"] == pytest.approx(float(logits[0].softmax(0)[1]))


def test_decoding_several_labels(tiny: Tiny) -> None:
    some, none = module(tiny, multi_label=True).decode(torch.tensor([[0.1, -2.0, 3.0], [-1.0, -1.0, 0.0]]), {})
    assert some["prediction"] == ["a", "c"]
    assert some["score"] == [some["scores"]["a"], some["scores"]["c"]]
    assert some["scores"]["c"] == pytest.approx(float(torch.sigmoid(torch.tensor(3.0))))
    assert (none["prediction"], none["score"]) == ([], [])


def test_defaults_depend_on_the_number_of_labels(tiny: Tiny) -> None:
    one, several = module(tiny), module(tiny, multi_label=True)
    assert (one.loss, one.monitor, one.mode) == (CrossEntropy(), "val/accuracy", "max")
    assert (several.loss, several.monitor, several.mode) == (BCE(), "val/f1_macro", "max")
    assert module(tiny, monitor="val/loss").mode == "min"


def test_class_weights_come_from_the_training_rows(tiny: Tiny) -> None:
    task = module(tiny, loss=CrossEntropy(class_weights="balanced"), label_counts=[10, 20, 30, 60])
    assert task.class_weights.tolist() == pytest.approx([2.0, 1.0, 60 / 90])
    logits, labels = torch.zeros(3, 3), torch.arange(3)
    assert task.losses(logits, {"labels": labels}).tolist() == pytest.approx([w * np.log(3) for w in (2.0, 1.0, 60 / 90)])
    assert "class_weights" not in task.state_dict(), "a checkpoint would bring the weights of other data"


def test_logits_that_look_like_probabilities_are_not_taken_for_them(tiny: Tiny) -> None:
    logits, labels = torch.full((37, 3), 0.3), torch.ones(37, 3, dtype=torch.long)
    found, _ = evaluated(module(tiny, multi_label=True), logits, labels)
    assert found["f1_micro"] == 1.0  # the sigmoid of 0.3 is above a half


@pytest.mark.parametrize("right", [12, 20, 0])
def test_mcc_of_constant_predictions_is_nil(right: int, tiny: Tiny) -> None:
    labels = torch.tensor([0] * right + [1] * (37 - right))
    logits = torch.tensor([3.0, 0.0, -9.0]).repeat(37, 1)
    assert evaluated(module(tiny), logits, labels)[0]["mcc"] == 0
    two = TextClassification(label_names=NAMES[:2], backbone=tiny("bert"), pad_token_id=0)
    assert evaluated(two, logits[:, :2], labels)[0]["mcc"] == sk.matthews_corrcoef(labels, [0] * 37) == 0


def test_macro_averages_of_labels_that_never_occur_are_the_same_everywhere(tiny: Tiny) -> None:
    torch.manual_seed(3)
    labels, logits = torch.randint(2, (37, 3)), torch.randn(37, 3)
    labels[:, 2], logits[:, 2] = 0, -1.0
    found, report = evaluated(module(tiny, multi_label=True), logits, labels)
    expected = sk.f1_score(labels, logits > 0, average="macro", zero_division=0)
    table = {row["label"]: row["f1"] for row in report["per_class"]}
    rows = [
        {
            "id": str(i),
            "label": [name for name, hot in zip(NAMES, row, strict=True) if hot],
            "prediction": [name for name, score in zip(NAMES, scores, strict=True) if score > 0],
            "scores": dict.fromkeys(NAMES, 0.0),
        }
        for i, (row, scores) in enumerate(zip(labels.tolist(), logits.tolist(), strict=True))
    ]
    known = evidence("labels", "f1_macro", [rows], [0])
    assert known is not None
    assert found["f1_macro"] == pytest.approx(expected)
    assert table["macro"] == pytest.approx(expected)
    assert float(known.scores[0]) == pytest.approx(expected)
    assert table["c"] == 0
    assert len(table) == 6, "a label that never occurs is in the table"


def test_the_constant_prediction_is_the_most_frequent_label(tiny: Tiny) -> None:
    assert module(tiny, label_counts=[10, 30, 20, 60]).constant_prediction == "b"
    assert module(tiny, label_counts=[40, 30, 20, 60], multi_label=True).constant_prediction == ["a"]
    assert module(tiny).constant_prediction is None

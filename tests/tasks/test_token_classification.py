"""Loss against transformers, metrics against seqeval and scikit-learn, and whole predictions from windows."""

import json
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForTokenClassification

import ftlit
from ftlit.__main__ import main
from ftlit.data import LengthGrouped, TokenClassificationData
from ftlit.data.batches.batching import EvaluationBatches
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.losses import BCE, CrossEntropy, Focal, token_losses
from ftlit.metrics.spans import entities
from ftlit.tasks import TokenClassification
from ftlit.util.batch import IGNORED
from tests.support.command_line import arguments
from tests.support.data import write_splits
from tests.support.tagged import letters_model, tagged_splits

seqeval = pytest.importorskip("seqeval.metrics")

NAMES = ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]
WINDOWS = {"max_length": 14, "stride": 4}


@pytest.fixture(scope="module")
def backbone(tiny: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return letters_model(tiny("bert"), tmp_path_factory.mktemp("letters") / "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tagged sentences, with a column of plain tags: the first letter of each word."""
    splits = {
        split: [{**row, "letters": [word[0].upper() for word in row["tokens"]]} for row in rows]
        for split, rows in tagged_splits().items()
    }
    return write_splits(tmp_path_factory.mktemp("tagged"), splits)


@pytest.fixture(scope="module")
def data(backbone: str, folder: str) -> TokenClassificationData:
    """The sentences in windows."""
    module = TokenClassificationData(dataset=folder, backbone=backbone, **WINDOWS)
    module.setup()
    return module


def task(backbone: str, **options: Any) -> TokenClassification:
    torch.manual_seed(0)
    module = TokenClassification(**{"label_names": NAMES, "backbone": backbone, "pad_token_id": 0, **options})
    module._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    return module.eval()


def batches(data: TokenClassificationData, rank: int = 0, world: int = 1, size: int = 8) -> list[dict[str, Any]]:
    """The batches of test that a rank evaluates."""
    encoded = data.encoded["test"]
    order = EvaluationBatches(LengthGrouped(size), data.lengths("test"), rank, world)
    return [data._collate((encoded[batch.indices], batch)) for batch in order]


def evaluate(module: TokenClassification, given: list[dict[str, Any]]) -> None:
    module.keep_predictions = True
    with torch.no_grad():
        for batch in given:
            module.evaluators["test"].update(module, batch)


def summary(module: TokenClassification) -> dict[str, float]:
    """The metrics of gathered predictions."""
    evaluation = module.evaluators["test"]
    evaluation.details = module.evaluation_details(evaluation)
    return module.corpus_metrics(evaluation)


# Loss


def test_token_losses_are_sums_of_labelled_tokens() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 7, 5, requires_grad=True), torch.randint(5, (3, 7))
    labels[0, 2:] = labels[2] = IGNORED
    weights = torch.rand(5)
    for loss in (CrossEntropy(), CrossEntropy(label_smoothing=0.1), Focal()):
        for given in (None, weights):
            expected = [
                sum(
                    (loss(x[None], y[None], given).squeeze() for x, y in zip(*row, strict=True) if y != IGNORED),
                    torch.tensor(0.0),
                )
                for row in zip(logits, labels, strict=True)
            ]
            found = token_losses(loss, logits, labels, given)
            torch.testing.assert_close(found, torch.stack(expected))
    total = token_losses(CrossEntropy(), logits, labels).sum()
    [found] = torch.autograd.grad(total, logits)
    [expected] = torch.autograd.grad(functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"), logits)
    torch.testing.assert_close(found, expected)
    assert found[labels == IGNORED].abs().max() == 0


def test_loss_and_logits_are_those_of_transformers(backbone: str, data: TokenClassificationData) -> None:
    module = task(backbone)
    reference = AutoModelForTokenClassification.from_pretrained(backbone, num_labels=len(NAMES), dtype=torch.float32).eval()
    reference.load_state_dict(module.model.state_dict())
    for batch in batches(data)[:3]:
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids", "labels")}
        output = reference(**inputs)
        torch.testing.assert_close(module.logits(batch), output.logits)
        found = module.training_step({**batch, "loss_denominator": float(batch["loss_weights"].sum())}, 0)
        torch.testing.assert_close(found, output.loss)


def test_mean_loss_weighs_words_alike(backbone: str, data: TokenClassificationData) -> None:
    module, given = task(backbone), batches(data)
    evaluate(module, given)
    with torch.no_grad():
        logits = [module.logits(batch)[batch["labels"] != IGNORED] for batch in given]
    labels = [batch["labels"][batch["labels"] != IGNORED] for batch in given]
    expected = functional.cross_entropy(torch.cat(logits).double(), torch.cat(labels))
    assert len(torch.cat(labels)) == data.counts("test")["words"]
    assert float(module.evaluators["test"].means["loss"].compute()) == pytest.approx(float(expected))


def test_balanced_weights_come_from_words(backbone: str, data: TokenClassificationData) -> None:
    module = task(backbone, loss=CrossEntropy(class_weights="balanced"), label_counts=data.label_counts)
    *counts, words = data.label_counts
    assert module.class_weights.tolist() == pytest.approx([words / (5 * count) for count in counts])


# Metrics


def random_predictions(module: TokenClassification, data: TokenClassificationData) -> tuple[list[list[str]], list[list[str]]]:
    """Predicted and right tags of test, the first drawn at random, through evaluation, and those that it should find."""
    generator = torch.Generator().manual_seed(3)

    def logits(batch: dict[str, Any]) -> Tensor:
        noise = torch.randn(*batch["input_ids"].shape, len(module.label_names), generator=generator)
        return noise + 2 * functional.one_hot(batch["labels"].clamp(min=0), len(module.label_names))

    module.logits = logits  # type: ignore[method-assign]
    evaluate(module, batches(data))
    evaluation = module.evaluators["test"]
    evaluation.gather(module)
    key = "tags" if module.spans else "prediction"
    right = [data.answer(row) for row in data.rows["test"]]
    predicted = [evaluation.predictions[i][key] for i in range(len(right))]
    assert list(map(len, predicted)) == list(map(len, right))
    return predicted, right


def test_metrics_of_entities(backbone: str, data: TokenClassificationData) -> None:
    module = task(backbone)
    predicted, right = random_predictions(module, data)
    expected = {"accuracy": seqeval.accuracy_score(right, predicted)}
    for name, score in (("precision", "precision_score"), ("recall", "recall_score"), ("f1", "f1_score")):
        expected[name] = getattr(seqeval, score)(right, predicted)
    expected |= {f"f1_{average}": seqeval.f1_score(right, predicted, average=average) for average in ("macro", "weighted")}
    found = summary(module)
    assert found == pytest.approx(expected)
    assert set(found) == set(module.corpus_metric_names)
    assert 0.1 < found["f1"] < 0.9
    table = seqeval.classification_report(right, predicted, output_dict=True)
    rows = {row["label"]: row for row in module.evaluators["test"].details["per_class"]}
    assert set(rows) == {"LOC", "PER", "micro", "macro", "weighted"}
    for name, label in (("LOC", "LOC"), ("PER", "PER"), ("macro", "macro avg"), ("weighted", "weighted avg")):
        values = [table[label][key] for key in ("precision", "recall", "f1-score", "support")]
        assert [rows[name][key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(values)


def test_metrics_of_plain_tags(backbone: str, folder: str) -> None:
    plain = TokenClassificationData(dataset=folder, backbone=backbone, tags="letters", spans=False, **WINDOWS)
    plain.setup()
    module = task(backbone, spans=False, label_names=plain.label_names)
    predicted, right = (list(chain(*tags)) for tags in random_predictions(module, plain))
    found = summary(module)
    expected = {"accuracy": sk.accuracy_score(right, predicted)}
    expected |= {f"f1_{average}": sk.f1_score(right, predicted, average=average) for average in ("macro", "weighted")}
    assert found == pytest.approx(expected)
    assert set(found) == set(module.corpus_metric_names)
    matrix = sk.confusion_matrix(right, predicted, labels=plain.label_names)
    assert module.evaluators["test"].details["confusion"] == matrix.tolist()
    assert (module.monitor, task(backbone).monitor) == ("val/accuracy", "val/f1")


def test_ranks_together_see_each_row_once(backbone: str, data: TokenClassificationData) -> None:
    alone, several = task(backbone), [task(backbone) for _ in range(3)]
    evaluate(alone, batches(data))
    for rank, module in enumerate(several):
        evaluate(module, batches(data, rank, world=3))
    kept = [module.evaluators["test"]._parts for module in several]
    seen = [(row, feature) for parts in kept for row, features in parts.items() for feature in features]
    assert len(seen) == len(set(seen)) == len(data.encoded["test"])
    for parts in kept[1:]:
        for row, features in parts.items():
            kept[0].setdefault(row, {}).update(features)
    for module in (alone, several[0]):
        module.evaluators["test"].gather(module)
    one, three = alone.evaluators["test"], several[0].evaluators["test"]
    assert three.references == one.references == dict(enumerate(row["tags"] for row in data.rows["test"]))
    assert [row["tags"] for row in three.predictions.values()] == [row["tags"] for row in one.predictions.values()]


def test_part_of_the_windows_can_be_measured(backbone: str, data: TokenClassificationData) -> None:
    module = task(backbone)
    evaluate(module, batches(data)[:1])  # as before training, where a row's other windows are in later batches
    module.evaluators["test"].gather(module)
    assert summary(module)["accuracy"] >= 0


# Predictions


def test_a_prediction_is_found_in_its_text(backbone: str, data: TokenClassificationData) -> None:
    module = task(backbone)
    random_predictions(module, data)
    for i, row in enumerate(data.rows["test"]):
        text, found = " ".join(row["tokens"]), module.evaluators["test"].predictions[i]
        assert found["words"] == row["tokens"]
        for entity in found["prediction"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert 0 < entity["score"] <= 1
        places = [(e["label"], text[: e["start"]].count(" "), text[: e["end"]].count(" ") + 1) for e in found["prediction"]]
        assert places == entities(found["tags"])


def test_refused_parts(backbone: str) -> None:
    with pytest.raises(UserError, match="PooledHead has one vector per text, but TokenClassification labels words"):
        task(backbone, head=PooledHead())
    with pytest.raises(UserError, match=r"model.loss BCE does not fit TokenClassification; use CrossEntropy or Focal"):
        task(backbone, loss=BCE())
    with pytest.raises(UserError, match=r"model.monitor 'val/f1' is not a metric of this task"):
        task(backbone, spans=False, monitor="val/f1")
    with pytest.raises(UserError, match="was trained on the labels"):
        task(backbone).on_load_checkpoint(
            {"state_dict": task(backbone).state_dict(), "hyper_parameters": {"label_names": ["O"]}}
        )


# The command line


@pytest.fixture(scope="module")
def run(backbone: str, folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in windows that has learned something."""
    run_dir = tmp_path_factory.mktemp("tokens") / "run"
    options: dict[str, Any] = {
        "data__dataset": folder,
        "model__backbone": backbone,
        "model__optimizer": "AdamW",
        "model__optimizer__lr": 0.01,
        "trainer__max_epochs": 6,
        "run_dir": run_dir,
        "test_after_fit": "true",
        **{f"data__{key}": value for key, value in WINDOWS.items()},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        main(arguments("fit", "TokenClassification", "TokenClassificationData", **options))
    return run_dir


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_results_are_those_of_the_written_predictions(run: Path, folder: str) -> None:
    written, rows = lines(run / "predictions/test.jsonl"), lines(Path(folder) / "test.jsonl")
    assert [line["tokens"] for line in written] == [row["tokens"] for row in rows]
    predicted, right = [line["tags"] for line in written], [row["tags"] for row in rows]
    results = json.loads((run / "results.json").read_text())["test"]
    assert results["f1"] == pytest.approx(seqeval.f1_score(right, predicted))
    assert results["accuracy"] == pytest.approx(seqeval.accuracy_score(right, predicted))
    assert results["f1"] > 0.6
    keys = ("label", "start", "end", "text")
    hits = sum(entity in line["label"] for line in written for entity in _without_score(line["prediction"], keys))
    found, true = (sum(len(line[key]) for line in written) for key in ("prediction", "label"))
    assert results["f1"] == pytest.approx(2 * hits / (found + true))


def _without_score(entities: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{key: entity[key] for key in keys} for entity in entities]


def test_predictions_of_a_loaded_run_are_those_of_its_test(run: Path, tmp_path: Path) -> None:
    written = lines(run / "predictions/test.jsonl")
    predictor = ftlit.load(run)
    found = predictor([{"tokens": line["tokens"]} for line in written], scores=True)
    for one, other in zip(found, written, strict=True):
        scores = one.pop("scores")
        assert (one["tags"], one["words"]) == (other["tags"], other["tokens"])
        for a, b in zip(one["prediction"], other["prediction"], strict=True):
            assert a.pop("score") == pytest.approx(b.pop("score"), abs=1e-5)
            assert a == b
        best = [max(scores, key=lambda name: scores[name][i]) for i in range(len(one["tags"]))]
        assert best == one["tags"]
    texts = [" ".join(line["tokens"]) for line in written]
    (tmp_path / "a.txt").write_text("\n".join(texts) + "\n")
    main(["predict", "--run", str(run), "--input", str(tmp_path / "a.txt"), "--output", str(tmp_path / "out.jsonl")])
    again = lines(tmp_path / "out.jsonl")
    assert [line["tags"] for line in again] == [line["tags"] for line in written]
    [spaced] = predictor(["  a,  c\tb."])
    assert spaced["words"] == ["a", ",", "c", "b", "."]
    assert all("  a,  c\tb."[entity["start"] : entity["end"]] == entity["text"] for entity in spaced["prediction"])


def test_new_rows_are_checked(run: Path) -> None:
    with pytest.raises(UserError, match=r"row 2: token 1 in column 'tokens' is empty; this run needs the column 'tokens'"):
        ftlit.load(run)([{"tokens": ["a"]}, {"tokens": ["a", ""]}])


def test_the_report_has_a_row_a_type(run: Path) -> None:
    rows = json.loads((run / "test_report.json").read_text())["per_class"]
    assert [row["label"] for row in rows] == ["LOC", "PER", "micro", "macro", "weighted"]
    assert not (run / "test_confusion.csv").exists()

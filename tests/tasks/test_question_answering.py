"""Loss and answers against plain references, windows of a row on different ranks, and a run with questions without answer."""

import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import ftlit
from ftlit.__main__ import main
from ftlit.data import QuestionAnsweringData
from ftlit.data.batches.batching import EvaluationBatches, LengthGrouped
from ftlit.data.batches.loaders import make_loader
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.losses import MSE, CrossEntropy, Focal
from ftlit.metrics.squad import best_threshold, squad_scores
from ftlit.tasks import QuestionAnswering
from ftlit.tasks.question_answering import best_spans
from tests.support.command_line import arguments
from tests.support.questions import question_rows, question_splits
from tests.support.small import ragged_batch, without_dropout

Tiny = Callable[[str], str]


def module(backbone: str, **options: Any) -> QuestionAnswering:
    torch.manual_seed(0)
    return QuestionAnswering(backbone=backbone, pad_token_id=0, **options)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2", "llama", "distilbert"])
def test_loss_is_that_of_transformers(tiny: Tiny, tmp_path: Path, architecture: str) -> None:
    task = module(without_dropout(tiny(architecture), tmp_path / "model"))
    ids, labels = torch.randint(4, 100, (5, 12)), torch.randint(12, (5, 2))
    labels[0] = 0  # a window without the answer
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "loss_denominator": 5.0}
    given = {"input_ids": ids, "start_positions": labels[:, 0], "end_positions": labels[:, 1]}
    assert task.training_step(batch, 0).item() == pytest.approx(task.model(**given).loss.item(), rel=1e-6)


def test_padding_changes_no_loss(tiny: Tiny, tmp_path: Path) -> None:
    task = module(without_dropout(tiny("bert"), tmp_path / "model"))
    batch = {**ragged_batch(), "labels": torch.tensor([[1, 2], [0, 0], [3, 5], [7, 7]])}
    together = task.losses(task.logits(batch), batch)
    for i, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        alone = {key: batch[key][i : i + 1, :length] for key in ("input_ids", "attention_mask")}
        alone["labels"] = batch["labels"][i : i + 1]
        assert float(together[i]) == pytest.approx(float(task.losses(task.logits(alone), alone)), abs=1e-5)


def test_focal_loss_without_gamma_is_cross_entropy(tiny: Tiny) -> None:
    logits, batch = torch.randn(4, 7, 2), {"labels": torch.randint(7, (4, 2))}
    expected = module(tiny("bert")).losses(logits, batch)
    assert torch.allclose(module(tiny("bert"), loss=Focal(gamma=0.0)).losses(logits, batch), expected)


def searched(starts: Any, ends: Any, inside: Any, longest: int) -> list[tuple[float, int, int]]:
    """Every span of one window, the best first."""
    tokens = range(len(starts))
    spans = [
        (float(starts[i] + ends[j]), i, j)
        for i, j in product(tokens, tokens)
        if inside[i] and inside[j] and 0 <= j - i < longest
    ]
    return sorted(spans, reverse=True)


@pytest.mark.parametrize(("longest", "count"), [(1, 5), (3, 8), (30, 20), (4, 500)])
def test_best_spans_are_those_of_a_search(longest: int, count: int) -> None:
    torch.manual_seed(longest)
    starts, ends, inside = (
        torch.randn(3, 13),
        torch.randn(3, 13),
        torch.arange(13).expand(3, 13) >= torch.tensor([[3], [5], [12]]),
    )
    values, first, last = best_spans(starts, ends, inside, longest, count)
    for i in range(3):
        expected = searched(starts[i], ends[i], inside[i], longest)[:count]
        found = [*zip(values[i].tolist(), first[i].tolist(), last[i].tolist(), strict=True)]
        assert [span[1:] for span in found[: len(expected)]] == [span[1:] for span in expected]
        assert [span[0] for span in found[: len(expected)]] == pytest.approx([span[0] for span in expected])
        assert all(value == float("-inf") and end < 13 for value, _, end in found[len(expected) :])


CONTEXT = "one two  three"


def window(starts: list[float], ends: list[float]) -> tuple[torch.Tensor, dict[str, Any]]:
    """Logits and batch of a window with two other tokens before ` one`, ` two`, `  three`."""
    offsets = torch.tensor([[[-1, -1], [-1, -1], [0, 3], [3, 7], [7, 14]]])
    return torch.tensor([starts, ends]).T[None], {"metadata": {"offsets": offsets, "context": [CONTEXT]}}


def test_decoding(tiny: Tiny) -> None:
    task = module(tiny("bert"), n_best=3, max_answer_tokens=2)
    part = task.decode(*window([1.0, 99.0, 0.0, 4.0, 3.0], [0.5, 99.0, 9.0, 1.0, 2.0]))[0]
    assert part is not None
    assert part["null"] == 1.5
    found = [(span["prediction"], span["start"], span["end"], span["score"]) for span in part["scores"]]
    assert found == [("one", 0, 3, 9.0), ("two  three", 4, 14, 6.0), ("two", 4, 7, 5.0)]


def test_windows_of_a_row_are_joined(tiny: Tiny) -> None:
    task = module(tiny("bert"), n_best=3)
    one = task.decode(*window([1.0, 0.0, 0.0, 4.0, 3.0], [0.5, 0.0, 0.0, 1.0, 2.0]))[0]
    other = task.decode(*window([7.0, 0.0, 0.0, 9.0, 3.0], [7.0, 0.0, -9.0, 0.0, -9.0]))[0]
    assert one is not None
    assert other is not None
    found = task.merge_windows([one, other])
    assert task.merge_windows([other, one]) == found
    assert (found["prediction"], found["start"], found["end"]) == ("two", 4, 7)
    assert [span["prediction"] for span in found["scores"]] == ["two", "two  three", "three"]  # 9 beats 5 for the same span
    shares = torch.tensor([9.0, 6.0, 5.0]).double().softmax(0).tolist()
    assert [span["score"] for span in found["scores"]] == pytest.approx(shares)
    assert found["score"] == found["scores"][0]["score"]
    assert "null_score" not in found


@pytest.mark.parametrize(("threshold", "text"), [(-7.5, "two"), (-7.6, "")])
def test_a_question_without_answer(tiny: Tiny, threshold: float, text: str) -> None:
    task = module(tiny("bert"), no_answer=True, no_answer_threshold=threshold)
    one = task.decode(*window([1.0, 0.0, 0.0, 4.0, 3.0], [0.5, 0.0, 0.0, 1.0, 2.0]))[0]
    other = task.decode(*window([7.0, 0.0, 0.0, 9.0, 3.0], [7.0, 0.0, -9.0, 0.0, -9.0]))[0]
    found = task.merge_windows([part for part in (one, other) if part])
    assert found["prediction"] == text
    assert found["null_score"] == pytest.approx(1.5 - 9.0)  # the window that is least sure of having no answer
    assert found["scores"][0]["prediction"] == "two"
    none = 1 - sum(span["score"] for span in found["scores"])
    best = max(span["score"] for span in found["scores"])
    assert none == pytest.approx(best * np.exp(1.5 - 9.0), rel=1e-6)
    assert found["score"] == pytest.approx(none if text == "" else best)
    assert (found["start"] is None) == (text == "")


def test_a_context_without_tokens_has_no_answer(tiny: Tiny) -> None:
    logits, batch = torch.zeros(1, 2, 2), {"metadata": {"offsets": torch.full((1, 2, 2), -1), "context": ["\u200b"]}}
    task = module(tiny("bert"))
    found = task.merge_windows([part for part in task.decode(logits, batch) if part])
    assert (found["prediction"], found["start"]) == ("", None)


def test_metrics_take_the_best_of_several_answers(tiny: Tiny) -> None:
    task = module(tiny("bert"))
    texts, gold = ["The cat", "a dog sat", "鸟"], [["dog", "cat"], ["dog"], ["飞鸟"]]
    evaluation = task.evaluators["val"]
    evaluation.predictions = {i: {"prediction": text} for i, text in enumerate(texts)}
    evaluation.references = dict(enumerate(gold))
    assert task.corpus_metrics(evaluation) == pytest.approx({"exact_match": 1 / 3, "f1": (1 + 2 / 3 + 0) / 3})
    assert task.evaluation_details(evaluation)["signatures"]["f1"].startswith("rules:squad|")
    chinese = module(tiny("bert"), answer_rules="characters")
    assert chinese.corpus_metrics(evaluation) == pytest.approx({"exact_match": 0, "f1": (2 / 3 + 1 / 2 + 2 / 3) / 3})
    assert chinese.evaluation_details(evaluation)["signatures"]["f1"].startswith("rules:characters|")
    evaluation.references = {0: ["黑猫"], 1: ["狗"], 2: ["飞鸟"]}
    evaluation.predictions = {i: {"prediction": text} for i, text in enumerate(["猫", "狗。", "飞大鸟"])}
    assert task.corpus_metrics(evaluation) == pytest.approx({"exact_match": 1 / 3, "f1": (2 / 3 + 1 + 4 / 5) / 3})
    cmrc = module(tiny("bert"), answer_rules="cmrc").corpus_metrics(evaluation)
    assert cmrc == pytest.approx({"exact_match": 1 / 3, "f1": (2 / 3 + 1 + 2 / 5) / 3})
    assert (task.monitor, task.mode) == ("val/f1", "max")


def test_the_best_threshold_is_set_on_validation_and_kept(tiny: Tiny) -> None:
    task = module(tiny("bert"), no_answer=True)
    scores = {"cat": (-2.0, ["cat"]), "dog": (3.0, []), "bird": (1.0, ["bird"]), "fish": (0.5, ["eel"])}
    spans = {word: {"prediction": word, "score": 0.9, "start": 0, "end": 3} for word in scores}
    evaluation, test = task.evaluators["val"], task.evaluators["test"]
    test.predictions = evaluation.predictions = {
        i: task._decided({**spans[word], "null_score": null, "scores": [spans[word]]})
        for i, (word, (null, _)) in enumerate(scores.items())
    }
    test.references = evaluation.references = {i: gold for i, (_, gold) in enumerate(scores.values())}
    assert [found["prediction"] for found in evaluation.predictions.values()] == ["cat", "", "", ""]
    before = task.corpus_metrics(test)
    assert (before["f1"], before["no_answer_threshold"]) == (0.5, 0.0)
    found = task.corpus_metrics(evaluation)
    assert [one["prediction"] for one in evaluation.predictions.values()] == ["cat", "", "bird", "fish"]
    assert found == {
        "exact_match": 0.75,
        "f1": 0.75,
        "exact_match_answerable": pytest.approx(2 / 3),
        "f1_answerable": pytest.approx(2 / 3),
        "exact_match_unanswerable": 1.0,
        "f1_unanswerable": 1.0,
        "no_answer_threshold": 1.0,
    }
    assert task.state_dict()["tuned_threshold"] == 1.0
    fixed = module(tiny("bert"), no_answer=True, no_answer_threshold=-1.0)
    fixed.load_state_dict(task.state_dict())
    assert fixed.threshold == -1.0


def test_what_does_not_fit(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"model.head: PooledHead has one vector per text, but QuestionAnswering scores tokens"):
        module(tiny("bert"), head=PooledHead())
    losses = {
        "model.loss MSE does not fit QuestionAnswering; use CrossEntropy or Focal": MSE(),
        "label_smoothing does not fit QuestionAnswering": CrossEntropy(label_smoothing=0.1),
        "class_weights weighs the labels of a list, and QuestionAnswering has none": CrossEntropy(class_weights=[1.0, 2.0]),
    }
    for sentence, loss in losses.items():
        with pytest.raises(UserError, match=sentence):
            module(tiny("bert"), loss=loss)
    with pytest.raises(UserError, match=r"model.n_best must be at least 1, got 0"):
        module(tiny("bert"), n_best=0)


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on questions of which some have no answer."""
    folder = tmp_path_factory.mktemp("questions")
    options = {"data__max_length": 24, "data__stride": 5, "data__dataset": question_splits(folder / "data", 0.3)}
    options |= {"model__backbone": tiny("bert"), "model__n_best": 4, "run_dir": folder / "run", "test_after_fit": "true"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        main(arguments("fit", "QuestionAnswering", "QuestionAnsweringData", **options))
    return folder / "run"


def lines(run: Path, split: str = "test") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / f"predictions/{split}.jsonl").read_text().splitlines()]


def test_metrics_are_those_of_the_written_predictions(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    threshold = results["validation"]["no_answer_threshold"]
    for split, count in {"validation": 23, "test": 21}.items():
        found = lines(trained, split)
        assert len(found) == count
        expected = squad_scores([line["prediction"] for line in found], [line["label"] for line in found])
        assert {name: results[split][name] for name in expected} == pytest.approx(expected)
        assert "f1_unanswerable" in expected
        assert results[split]["no_answer_threshold"] == threshold
        for line in found:
            assert len(line["scores"]) == 4
            assert (line["prediction"] == "") == (line["null_score"] > threshold)
            assert line["prediction"] == ("" if line["start"] is None else line["context"][line["start"] : line["end"]])
    validation = lines(trained, "validation")
    best = [line["scores"][0]["prediction"] for line in validation]
    tuned = best_threshold([line["null_score"] for line in validation], best, [line["label"] for line in validation])
    assert (threshold, results["validation"]["f1"]) == pytest.approx(tuned)


def test_new_rows_are_answered_as_in_the_test(trained: Path) -> None:
    expected = lines(trained)
    rows = [{"id": line["id"], "question": line["question"], "context": line["context"]} for line in expected]
    for found, line in zip(ftlit.load(trained)(rows, batch_size=5), expected, strict=True):
        assert (found["id"], found["prediction"], found["start"]) == (line["id"], line["prediction"], line["start"])
        assert found["null_score"] == pytest.approx(line["null_score"], abs=1e-5)
        assert "scores" not in found


def test_new_rows_need_both_columns(trained: Path) -> None:
    predictor = ftlit.load(trained)
    with pytest.raises(UserError, match=r"row 1: expected a row, got one text; .* the columns 'question' and 'context'"):
        predictor(["word1"])
    with pytest.raises(UserError, match=r"row 1: there is no column 'context'"):
        predictor([{"question": "word1"}])


def test_windows_of_a_row_on_different_ranks(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = QuestionAnsweringData(
        dataset=question_splits(tmp_path), backbone=tiny("bert"), max_length=24, stride=5, batching=LengthGrouped(4)
    )
    data.setup()
    alone, ranks = module(tiny("bert")), [module(tiny("bert")), module(tiny("bert"))]
    for world, tasks in ((1, [alone]), (2, ranks)):
        for rank, task in enumerate(tasks):
            task.eval()
            for batch in make_loader(data, "test", EvaluationBatches(data.batching, data.lengths("test"), rank, world)):
                with torch.no_grad():
                    task.evaluators["test"].update(task, batch)
            task._trainer = SimpleNamespace(world_size=world)  # type: ignore[assignment]
    kept = [task.evaluators["test"]._parts for task in ranks]
    assert kept[0].keys() & kept[1].keys(), "no row has windows on both ranks"
    monkeypatch.setattr(torch.distributed, "all_gather_object", lambda found, _: found.__setitem__(slice(None), kept))
    for task in (alone, *ranks):
        task.evaluators["test"].gather(task)
    whole = alone.evaluators["test"]
    assert list(whole.predictions) == list(range(21))
    for task in ranks:
        part = task.evaluators["test"]
        assert part.predictions == whole.predictions
        assert part.references == whole.references
        assert task.corpus_metrics(part) == alone.corpus_metrics(whole)


def test_rows_of_the_tests_are_right() -> None:
    for row in question_rows(50, 3, 0.2):
        for answer in row["answers"]:
            assert row["context"][answer["answer_start"] :].startswith(answer["text"])

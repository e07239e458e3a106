"""The head on two markers, embeddings of the markers under every tuning method, metrics, and the command line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ftlit
from ftlit.__main__ import main
from ftlit.data import RelationExtractionData
from ftlit.errors import UserError
from ftlit.heads import EntityHead, PooledHead, TaskHead
from ftlit.metrics.relations import relation_scores
from ftlit.models.embeddings import ExtendedEmbedding
from ftlit.models.layer_depths import depths
from ftlit.runs.checkpoint import trained_keys
from ftlit.tasks import RelationExtraction
from ftlit.tuning import BitFit, Frozen, Full, LoRA, TopLayers, Tuning
from tests.support.command_line import arguments
from tests.support.data import RELATIONS, relation_rows
from tests.support.models import ARCHITECTURES
from tests.support.small import classifier, logits_of, ragged_batch

Tiny = Callable[[str], str]
MARKERS = [100, 101, 102, 103]
POSITIONS = torch.tensor([[0, 1], [9, 2], [3, 5], [1, 6]])


def module(tiny: Tiny, architecture: str = "bert", **options: Any) -> RelationExtraction:
    torch.manual_seed(0)
    names = {"label_names": RELATIONS, "added_tokens": MARKERS}
    return RelationExtraction(backbone=tiny(architecture), pad_token_id=0, **{**names, **options})


def batch() -> dict[str, Any]:
    """Four texts with two markers each."""
    given = ragged_batch(labels=4)
    ids = given["input_ids"].scatter(1, POSITIONS, torch.tensor([[100, 102]] * 4))
    return {**given, "input_ids": ids, "entity_positions": POSITIONS}


def hidden(task: RelationExtraction, given: dict[str, Any]) -> Tensor:
    task.eval()
    with torch.no_grad():
        inputs = {key: given[key] for key in ("input_ids", "attention_mask")}
        return task.backbone(**inputs).last_hidden_state


def test_the_head_reads_both_start_markers(tiny: Tiny) -> None:
    task = module(tiny)
    states = hidden(task, batch())
    joined = torch.stack([torch.cat([row[i], row[j]]) for row, (i, j) in zip(states, POSITIONS.tolist(), strict=True)])
    linear = task.model.head[1]
    assert linear.in_features == 64
    torch.testing.assert_close(logits_of(task, batch()), linear(joined).detach())


def test_the_head_on_the_first_token(tiny: Tiny) -> None:
    task = module(tiny, head=EntityHead(pooling="cls", dropout=0.0))
    torch.testing.assert_close(logits_of(task, batch()), task.model.head[1](hidden(task, batch())[:, 0]).detach())


@pytest.mark.parametrize("head", [TaskHead(), PooledHead()])
def test_other_heads_take_the_marked_text(head: Any, tiny: Tiny) -> None:
    assert logits_of(module(tiny, head=head), batch()).shape == (4, 4)


def test_the_head_is_refused_where_texts_have_no_entities(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"model\.head EntityHead needs entities in the data"):
        logits_of(classifier(tiny("bert"), head=EntityHead()), ragged_batch())


@pytest.mark.parametrize("tuning", [Full(), Frozen(), BitFit(), LoRA(), TopLayers(1)], ids=str)
def test_marker_embeddings_train_under_every_method(tuning: Tuning, tiny: Tiny) -> None:
    task = module(tiny, tuning=tuning)
    task.training_step(batch(), 0).backward()
    [name] = [name for name, _ in task.named_parameters() if name.endswith("word_embeddings.extra")]
    extra, table = task.get_parameter(name), task.get_parameter(name.replace("extra", "weight"))
    assert extra.grad is not None
    assert extra.grad.abs().sum(1).gt(0).tolist() == [True, False, True, False]
    assert table.requires_grad == isinstance(tuning, Full)
    assert name in trained_keys(task)
    saved: dict[str, Any] = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(saved)
    other = module(tiny, tuning=tuning)
    with torch.no_grad():
        other.get_parameter(name).zero_()
    other.on_load_checkpoint(saved)
    other.load_state_dict(saved["state_dict"])
    assert torch.equal(logits_of(other, batch()), logits_of(task, batch()))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_added_tokens(architecture: str, tiny: Tiny) -> None:
    task = module(tiny, architecture, tuning=Frozen(), layer_decay=0.5)
    assert task.backbone.config.vocab_size == 100
    task.training_step(batch(), 0).backward()
    [(name, extra)] = [(name, w) for name, w in task.backbone.named_parameters() if name.endswith(".extra")]
    assert extra.grad is not None
    assert extra.grad.abs().max() > 0
    assert depths(task.backbone)[name] == 0
    plain = classifier(tiny(architecture), head=PooledHead())
    texts = ragged_batch()
    inputs = {key: texts[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = plain.eval().backbone(**inputs).last_hidden_state
        torch.testing.assert_close(task.eval().backbone(**inputs).last_hidden_state, expected)


def test_without_added_tokens_the_embeddings_stay(tiny: Tiny) -> None:
    task = module(tiny, added_tokens=[])
    assert not isinstance(task.backbone.get_input_embeddings(), ExtendedEmbedding)


def test_the_negative_relation(tiny: Tiny) -> None:
    assert module(tiny).negative_label == "Other"
    assert module(tiny, label_names=["no_relation", "a"]).negative_label == "no_relation"
    assert module(tiny, label_names=["a", "b"]).negative_label is None
    assert module(tiny, negative_label=RELATIONS[0]).negative_label == RELATIONS[0]
    with pytest.raises(UserError, match=r"model\.negative_label 'other' is not a relation\. Did you mean 'Other'\?"):
        module(tiny, negative_label="other")


def test_metrics_of_whole_splits(tiny: Tiny) -> None:
    task = module(tiny)
    assert (task.monitor, task.mode) == ("val/f1_macro", "max")
    gold = [RELATIONS[i] for i in (0, 1, 2, 3, 0, 1)]
    said = [RELATIONS[i] for i in (0, 0, 2, 0, 3, 1)]
    evaluation = task.evaluators["val"]
    evaluation.references = dict(enumerate(gold))
    evaluation.predictions = {i: {"prediction": name} for i, name in enumerate(said)}
    found = task.corpus_metrics(evaluation)
    assert found == relation_scores(gold, said, "Other")
    assert tuple(found) == task.corpus_metric_names
    table = task.evaluation_details(evaluation)["per_class"]
    assert [row["label"] for row in table] == ["Cause-Effect", "Member-Collection", "micro", "macro", "weighted"]
    assert (table[0]["precision"], table[0]["recall"]) == (2 / 4, 2 / 4)


def test_fit_test_and_predict_agree(tiny: Tiny, relations: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    run = tmp_path / "run"
    given = {"run_dir": run, "model__backbone": tiny("bert"), "data__dataset": relations, "model__tuning": "LoRA"}
    main(arguments("fit", "RelationExtraction", "RelationExtractionData", test_after_fit="true", **given))
    lines = [json.loads(line) for line in (run / "predictions/test.jsonl").read_text().splitlines()]
    rows = relation_rows(30, 2)
    predictor = ftlit.load(run)
    for line, row, found in zip(lines, rows, predictor(rows, scores=True), strict=True):
        assert {name: line[name] for name in ("text", "head", "tail")} == {name: row[name] for name in ("text", "head", "tail")}
        assert (line["label"], line["prediction"]) == (row["relation"], found["prediction"])
        assert line["score"] == pytest.approx(found["score"], abs=1e-5)
        assert list(found["scores"]) == sorted(RELATIONS)
    results = json.loads((run / "results.json").read_text())["test"]
    expected = relation_scores([line["label"] for line in lines], [line["prediction"] for line in lines], "Other")
    assert {name: results[name] for name in expected} == pytest.approx(expected)
    assert "Cause-Effect " in (run / "test_report.txt").read_text()
    with pytest.raises(UserError, match="row 1: the entity in column 'head' is at characters 0 to 99"):
        predictor([{**rows[0], "head": {"start": 0, "end": 99}}])
    with pytest.raises(UserError, match=r"row 1: expected a row, got one text; .* the columns 'text' and 'head' and 'tail'"):
        predictor(["word1 word2"])


def test_the_data_name_the_tokens_that_the_model_adds(tiny: Tiny, relations: str) -> None:
    data = RelationExtractionData(dataset=relations, backbone=tiny("bert"))
    data.setup()
    given = data.collate(data.encoded["train"][:4])
    task = module(tiny, label_names=data.label_names, added_tokens=data.added_tokens)
    found = given["input_ids"].gather(1, given["entity_positions"])
    assert found.tolist() == [[data.added_tokens[0], data.added_tokens[2]]] * 4
    together = logits_of(task, given)
    for i in range(4):  # padding does not move the entities
        alone = data.collate({name: values[i : i + 1] for name, values in data.encoded["train"][:4].items()})
        torch.testing.assert_close(logits_of(task, alone)[0], together[i], atol=1e-5, rtol=0)

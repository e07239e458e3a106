"""A self-supervised loss beside the task's: its value, its weight, its texts, and that it is nothing when it is off."""

import csv
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import ftlit
from ftlit.commands.cli import run
from ftlit.data import MultipleChoiceData, TextClassificationData
from ftlit.data.batches.batching import MicroBatch
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.optimization.auxiliary import Auxiliary, CausalLMLoss, MaskedLMLoss
from ftlit.tasks import CausalLM, MultipleChoice, RelationExtraction, Seq2Seq
from ftlit.tuning import Frozen, LoRA
from tests.support.command_line import arguments
from tests.support.data import RELATIONS, sentiment_rows, write_splits
from tests.support.small import classifier, ragged_batch, without_dropout

Tiny = Callable[[str], str]
INPUTS = ("input_ids", "attention_mask")


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture(scope="module")
def model(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Tiny language models of an architecture without dropout, with all heads' weights and a mask token."""

    def make(kind: str) -> str:
        folder = tmp_path_factory.mktemp("model") / kind
        without_dropout(tiny(kind), folder)
        torch.manual_seed(1)
        auto = AutoModelForCausalLM if kind in ("llama", "gpt2") else AutoModelForMaskedLM
        auto.from_pretrained(folder).save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.mask_token = "word75"
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


def self_supervised(task: Any, batch: dict[str, Any]) -> torch.Tensor:
    torch.manual_seed(7)
    return task.auxiliary.loss(task.self_supervision, task.backbone, batch)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert", "electra", "mpnet"])
@pytest.mark.parametrize("head", [None, PooledHead()])
def test_masked_loss_is_that_of_the_backbone_s_language_model(kind: str, head: Any, model: Tiny) -> None:
    folder, batch = model(kind), ragged_batch()
    task = classifier(folder, auxiliary=MaskedLMLoss(probability=0.4), **({"head": head} if head else {}))
    found = self_supervised(task, batch)
    torch.manual_seed(7)
    inputs, targets = task.self_supervision.targets({key: batch[key] for key in INPUTS})  # type: ignore[union-attr]
    assert (targets != -100).any(1).all()
    assert (targets[batch["attention_mask"] == 0] == -100).all()
    logits = AutoModelForMaskedLM.from_pretrained(folder)(**inputs).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    torch.testing.assert_close(found, (losses.sum(1) / (targets != -100).sum(1)).mean())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_causal_loss_is_that_of_the_backbone_s_language_model(kind: str, model: Tiny) -> None:
    folder, batch = model(kind), ragged_batch()
    task = classifier(folder, auxiliary=CausalLMLoss())
    plain = AutoModelForCausalLM.from_pretrained(folder)
    each = []
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        text = ids[mask.bool()][None]
        each.append(plain(input_ids=text, labels=text).loss)
    torch.testing.assert_close(self_supervised(task, batch), torch.stack(each).mean())


def test_output_weights_are_the_backbone_s_embeddings(model: Tiny) -> None:
    for tuning in (None, LoRA(r=2), Frozen()):
        task = classifier(model("bert"), auxiliary=MaskedLMLoss(), **({"tuning": tuning} if tuning else {}))
        head = task.self_supervision.head  # type: ignore[union-attr]
        table = next(w for name, w in task.backbone.named_parameters() if name.endswith("word_embeddings.weight"))
        assert head.get_output_embeddings().weight is table
        assert table.requires_grad == (tuning is None)
        assert head.cls.predictions.transform.dense.weight.requires_grad
        names = [name for name, _ in task.self_supervision.named_parameters()]  # type: ignore[union-attr]
        assert not any("encoder" in name for name in names)


def test_examples_count_as_in_the_task_s_loss(model: Tiny) -> None:
    task = classifier(model("llama"), auxiliary=CausalLMLoss())
    batch = ragged_batch()
    loss_weights = torch.tensor([1.0, 3.0, 0.0, 2.0])
    each = task.self_supervision(task.backbone, batch)  # type: ignore[misc]
    found = task.auxiliary.loss(
        task.self_supervision, task.backbone, {**batch, "loss_weights": loss_weights, "loss_denominator": 6.0}
    )  # type: ignore[union-attr, arg-type]
    torch.testing.assert_close(found, (each * loss_weights).sum() / 6)
    texts = ragged_batch(seed=1)
    both = self_supervised(task, {**batch, "unlabelled": texts})
    torch.testing.assert_close(both, (self_supervised(task, batch) + self_supervised(task, texts)) / 2)
    filler = {**batch, "unlabelled": texts, "loss_denominator": float("inf")}
    assert self_supervised(task, filler) == 0


def test_an_example_counts_the_mean_of_its_choices(model: Tiny, questions: str) -> None:
    folder = model("llama")
    data = MultipleChoiceData(dataset=questions, backbone=folder)
    data.setup()
    task = MultipleChoice(backbone=folder, pad_token_id=0, auxiliary=CausalLMLoss(weight=0.5))
    task.trainer, task.total_steps = type("Trainer", (), {"global_step": 0})(), 1  # type: ignore[assignment]
    batch = {**data.collate(data.encoded["train"][:5]), "loss_denominator": 5.0}
    counts = [len(choices) for choices in batch["metadata"]["choices"]]
    assert len(set(counts)) > 1
    each = task.self_supervision(task.backbone, batch).split(counts)  # type: ignore[misc]
    found = task.training_step(batch, 0)["auxiliary_loss"]
    torch.testing.assert_close(found, torch.stack([part.mean() for part in each]).mean().detach())


@pytest.mark.parametrize(("kind", "auxiliary"), [("bert", MaskedLMLoss(probability=1.0)), ("llama", CausalLMLoss())])
def test_tokens_that_the_data_added_are_no_targets(kind: str, auxiliary: Any, model: Tiny) -> None:
    markers = [100, 101, 102, 103]
    task = RelationExtraction(
        label_names=RELATIONS, added_tokens=markers, backbone=model(kind), pad_token_id=0, auxiliary=auxiliary
    )
    batch = ragged_batch()
    ids = batch["input_ids"].clone()
    ids[:, :2] = torch.tensor(markers[:2])
    inputs, targets = task.self_supervision.targets({**{key: batch[key] for key in INPUTS}, "input_ids": ids})  # type: ignore[union-attr]
    assert torch.equal(inputs["input_ids"][:, :2], ids[:, :2])
    values = task.self_supervision(task.backbone, {**batch, "input_ids": ids})  # type: ignore[misc]
    assert torch.isfinite(values).all()
    assert (values > 0).all()
    if kind == "bert":
        assert (targets[:, :2] == -100).all()


def test_where_there_is_nothing_to_add(model: Tiny, tiny_seq2seq: Tiny) -> None:
    with pytest.raises(UserError, match=r"model\.auxiliary adds a loss on the texts, which Seq2Seq has already"):
        Seq2Seq(backbone=tiny_seq2seq("t5"), auxiliary=MaskedLMLoss())
    with pytest.raises(UserError, match=r"which CausalLM has already; leave it out"):
        CausalLM(backbone=model("llama"), auxiliary=CausalLMLoss())
    with pytest.raises(UserError, match=r"CausalLMLoss, but model\.backbone attends to the later tokens"):
        classifier(model("bert"), auxiliary=CausalLMLoss())


def test_weight_over_training() -> None:
    points = (0.0, 0.25, 0.5, 1.0)

    def weights(schedule: Any) -> list[float]:
        auxiliary: Auxiliary = MaskedLMLoss(weight=0.4, schedule=schedule)
        return [auxiliary.weight_at(point) for point in points]

    assert weights("constant") == [0.4] * 4
    assert weights("linear") == pytest.approx([0.4, 0.3, 0.2, 0.0])
    assert weights("cosine") == pytest.approx([0.4 * (1 + math.cos(math.pi * point)) / 2 for point in points])


def test_bad_settings_are_said(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"auxiliary\.weight must be at least 0, got -1"):
        CausalLMLoss(weight=-1)
    with pytest.raises(UserError, match=r"auxiliary\.probability must be above 0 and at most 1, got 0"):
        MaskedLMLoss(probability=0)
    with pytest.raises(UserError, match="tokenizer has no mask token; use CausalLMLoss"):
        classifier(tiny("bert"), auxiliary=MaskedLMLoss())


# Texts without labels


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [{"sentence": row["text"]} for row in sentiment_rows(150, 9)]
    return write_splits(tmp_path_factory.mktemp("texts"), {"train": [*rows, {"sentence": " "}]})


def data_with(texts: str, sentiment: str, backbone: str, **options: Any) -> TextClassificationData:
    given = {"unlabelled": texts, "unlabelled_column": "sentence", **options}
    data = TextClassificationData(dataset=sentiment, backbone=backbone, **given)
    data.setup()
    return data


def drawn(data: TextClassificationData, indices: list[int], epoch: int | None) -> list[list[int]] | None:
    """The texts that come with some examples."""
    batch = data._collate((data.encoded["train"][indices], MicroBatch(indices, 1.0, epoch)))
    if "unlabelled" not in batch:
        return None
    found = batch["unlabelled"]
    pairs = zip(found["input_ids"], found["attention_mask"].bool(), strict=True)
    return [ids[mask].tolist() for ids, mask in pairs]


def test_each_example_gets_a_text_that_depends_on_no_batch(texts: str, sentiment: str, model: Tiny) -> None:
    folder = model("bert")
    data = data_with(texts, sentiment, folder)
    every = list(range(83))
    found = drawn(data, every, 0)
    assert found is not None
    assert drawn(data, [5, 2], 0) == [found[5], found[2]]
    assert drawn(data, every, 1) != found
    assert drawn(data_with(texts, sentiment, folder, order_seed=1), every, 0) != found
    known = [data.tokenizer(row["text"])["input_ids"] for row in sentiment_rows(150, 9)]
    assert all(ids in known for ids in found)
    assert len({tuple(ids) for ids in found}) == 83
    assert drawn(data, every, None) is None  # an evaluation has none


def test_few_texts_come_again(sentiment: str, model: Tiny, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("word1\nword2\n")
    data = data_with(str(tmp_path / "few.txt"), sentiment, model("bert"), unlabelled_column="text")
    found = drawn(data, list(range(83)), 0)
    assert found is not None
    assert sorted(found.count(ids) for ids in (found[0], found[1])) == [41, 42]


def test_a_wrong_column_is_named(texts: str, sentiment: str, model: Tiny) -> None:
    data = data_with(texts, sentiment, model("bert"), unlabelled_column="sentense")
    with pytest.raises(UserError, match=r"data\.unlabelled_column: .* has no column 'sentense'. Did you mean 'sentence'"):
        drawn(data, [0], 0)


# Runs


def trained(folder: Path, backbone: str, sentiment: str, **options: Any) -> Path:
    given = {"model__backbone": backbone, "data__dataset": sentiment, "data__limit_train": 32, "trainer__max_epochs": 2}
    run(arguments("fit", "TextClassification", "TextClassificationData", run_dir=folder, **{**given, **options}))
    return folder


def logged(folder: Path, *names: str) -> list[list[float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    return [[float(row[name]) for name in names] for row in rows]


@pytest.mark.slow
def test_without_weight_it_is_the_plain_task_bit_for_bit(tiny: Tiny, sentiment: str, tmp_path: Path, model: Tiny) -> None:
    folder = model("bert")
    plain = trained(tmp_path / "plain", folder, sentiment)
    off = trained(tmp_path / "off", folder, sentiment, model__auxiliary="MaskedLMLoss", model__auxiliary__weight=0)
    states = [torch.load(path / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for path in (plain, off)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert (plain / "metrics.csv").read_text() == (off / "metrics.csv").read_text()


def test_a_run_logs_its_parts_and_can_be_opened(texts: str, sentiment: str, tmp_path: Path, model: Tiny) -> None:
    options = {"model__auxiliary": "MaskedLMLoss", "model__auxiliary__weight": 0.5, "model__auxiliary__schedule": "linear"}
    mixed = {"data__unlabelled": texts, "data__unlabelled_column": "sentence", "trainer__accumulate_grad_batches": 2}
    folder = trained(tmp_path / "run", model("bert"), sentiment, model__tuning="LoRA", **options, **mixed)
    rows = logged(folder, "train/loss", "train/task_loss", "train/auxiliary_loss", "train/auxiliary_weight")
    assert [row[3] for row in rows] == pytest.approx([0.5, 0.375, 0.25, 0.125])
    for loss, task_loss, auxiliary_loss, weight in rows:
        assert loss == pytest.approx(task_loss + weight * auxiliary_loss, rel=1e-5)
        assert 3 < auxiliary_loss < 8  # log(100) is 4.6
    lines = [json.loads(line) for line in (folder / "predictions/validation.jsonl").read_text().splitlines()]
    found = ftlit.load(folder)([line["text"] for line in lines], batch_size=8)
    assert [row["score"] for row in found] == pytest.approx([line["score"] for line in lines], abs=1e-6)

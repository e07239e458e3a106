"""The head of a backbone that is already a classifier, and the default head of a linear probe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from ftlit.heads import PooledHead, TaskHead
from ftlit.tasks import TextClassification, TokenClassification
from ftlit.tasks.shared.building import matching_rows
from ftlit.tuning import Frozen, LoRA
from tests.support.models import ARCHITECTURES
from tests.support.small import classifier, logits_of, ragged_batch
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]


@pytest.fixture
def tuned_before(tmp_path: Path) -> Callable[..., Any]:
    """A model with the head of a task for some labels, and its folder."""

    def make(labels: list[str], architecture: str = "bert", kind: Any = AutoModelForSequenceClassification) -> Any:
        names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
        settings = {"vocab_size": 100, "max_position_embeddings": 64, **ARCHITECTURES[architecture], **names}
        torch.manual_seed(0)
        model = kind.from_config(AutoConfig.for_model(architecture, **settings)).eval()
        model.save_pretrained(tmp_path)
        return model, str(tmp_path)

    return make


@pytest.mark.parametrize(
    "architecture", some_by_default(["bert", "roberta", "distilbert", "llama", "modernbert"], chosen=(0, 1))
)
def test_rows_of_the_same_names_are_reordered(architecture: str, tuned_before: Any) -> None:
    model, folder = tuned_before(["good", "bad"], architecture)
    module, batch = classifier(folder), ragged_batch()  # its labels are bad and good
    with torch.no_grad():
        expected = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    torch.testing.assert_close(logits_of(module, batch), expected[:, [1, 0]])
    assert module.model.config.id2label == {0: "bad", 1: "good"}
    assert module.notes == ["the rows of the pretrained head were put into the order of the labels bad, good"]


def test_tags_are_reordered_too(tuned_before: Any) -> None:
    tags = ["O", "B-PER", "I-PER"]
    model, folder = tuned_before(tags, kind=AutoModelForTokenClassification)
    module = TokenClassification(label_names=sorted(tags), backbone=folder, pad_token_id=0)
    torch.testing.assert_close(module.model.classifier.weight, model.classifier.weight[[1, 2, 0]])
    torch.testing.assert_close(module.model.classifier.bias, model.classifier.bias[[1, 2, 0]])


@pytest.mark.parametrize("labels", [["joy", "anger"], ["joy", "anger", "fear"]])
def test_other_labels_begin_anew(labels: list[str], tuned_before: Any) -> None:
    model, folder = tuned_before(labels)
    one, other = classifier(folder, seed=1), classifier(folder, seed=2)
    assert not torch.equal(one.model.classifier.weight, other.model.classifier.weight)
    assert not one.model.classifier.bias.any()
    assert not any(torch.equal(row, old) for row in one.model.classifier.weight for old in model.classifier.weight)
    shown = ", ".join(labels)
    assert one.notes == [
        f"model.backbone is a classifier of the labels {shown}, and the data have bad, good: the last layer of its head "
        "begins anew"
    ]


def test_the_same_order_and_heads_without_names_are_kept(tuned_before: Any) -> None:
    model, folder = tuned_before(["bad", "good"])
    module = classifier(folder, tuning=LoRA())
    assert torch.equal(module.model.classifier.weight, model.classifier.weight)
    assert module.notes == []
    model, folder = tuned_before(["LABEL_0", "LABEL_1"])
    module = classifier(folder)
    assert torch.equal(module.model.classifier.weight, model.classifier.weight)
    assert module.notes == ["the head of model.backbone names no labels; its rows are taken for bad, good, in this order"]


def test_which_names_are_the_same() -> None:
    assert matching_rows(["a", "b", "c"], ["c", "a", "b"]) == [1, 2, 0]
    assert matching_rows(["negative", "positive"], ["POSITIVE", "NEGATIVE"]) == [1, 0]
    assert matching_rows(["0", "1", "2"], ["LABEL_0", "LABEL_1", "LABEL_2"]) == [0, 1, 2]
    assert matching_rows(["a", "A"], ["A", "a"]) == [1, 0]
    assert matching_rows(["a", "b"], ["A", "a"]) is None
    assert matching_rows(["a", "b"], ["a", "b", "c"]) is None
    assert matching_rows(["bad", "good"], ["LABEL_0", "LABEL_1"]) is None


def test_a_probe_reads_the_mean_of_the_tokens_instead_of_a_frozen_pooler(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=Frozen())
    assert module.head == module.hparams["head"] == PooledHead()
    assert module.notes == []
    for other in (classifier(tiny("bert")), classifier(tiny("roberta"), tuning=Frozen())):
        assert isinstance(other.head, TaskHead)
    (note,) = classifier(tiny("bert"), tuning=Frozen(), head=TaskHead()).notes
    assert note.startswith("model.head TaskHead reads the pooler, which model.tuning Frozen keeps as it was pretrained for")


def test_an_exported_probe_keeps_its_head(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=Frozen())
    arguments = {**module.hparams, "tuning": LoRA()}
    assert TextClassification(**arguments).head == PooledHead()

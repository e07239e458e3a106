"""Language models: logits where they are needed only, the loss of the reference, and runs of masked language modelling."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, BertForPreTraining

import ftlit
from ftlit.commands.cli import run
from ftlit.data import CorpusData
from ftlit.data.batches.batching import MicroBatch
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.losses import CrossEntropy, perplexity
from ftlit.tasks import MaskedLM, TaskModule
from ftlit.tasks.shared.language_model import only_tokens
from ftlit.tuning import LoRA
from tests.support.command_line import arguments
from tests.support.data import sentiment_rows
from tests.support.small import ragged_batch, without_dropout

Tiny = Callable[[str], str]
IGNORED = -100


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


def with_mask(folder: str, to: Path) -> str:
    """A copy of a tiny model without dropout, whose tokenizer has a mask token."""
    without_dropout(folder, to)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = "word75"
    tokenizer.save_pretrained(to)
    return str(to)


@pytest.fixture(scope="module")
def backbone(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    return with_mask(tiny("bert"), tmp_path_factory.mktemp("model") / "bert")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Text files with a sentence a line and a blank line after every fourth."""
    folder = tmp_path_factory.mktemp("corpus")
    for seed, split in enumerate(("train", "validation")):
        rows = [row["text"] + ("\n\n" if i % 4 == 3 else "\n") for i, row in enumerate(sentiment_rows(48, seed))]
        (folder / f"{split}.txt").write_text("".join(rows))
    return str(folder)


def module(backbone: str, **options: Any) -> MaskedLM:
    torch.manual_seed(0)
    return MaskedLM(backbone=backbone, pad_token_id=0, **options)


def batch_of(corpus: str, backbone: str, indices: list[int], epoch: int | None = None, **options: Any) -> dict[str, Any]:
    data = CorpusData(dataset=corpus, backbone=backbone, objective="masked", max_length=32, **options)
    data.setup()
    return data._collate((data.encoded["train"][indices], MicroBatch(indices, 10.0, epoch)))


def evaluated(task: TaskModule, batches: list[dict[str, Any]]) -> dict[str, float]:
    """What an evaluation of batches finds."""
    task.eval()
    with torch.no_grad():
        for batch in batches:
            task.evaluators["val"].update(task, batch)
    values = {key: float(value) for key, value in task.evaluators["val"].metrics.compute().items()}
    values["loss"] = float(task.evaluators["val"].means["loss"].compute())
    return values | task.corpus_metrics(task.evaluators["val"])


# Logits at chosen tokens only


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert", "electra", "mpnet", "llama", "gpt2"])
def test_logits_of_chosen_tokens_are_those_of_all(kind: str, tiny: Tiny) -> None:
    auto = AutoModelForCausalLM if kind in ("llama", "gpt2") else AutoModelForMaskedLM
    torch.manual_seed(0)
    model = auto.from_pretrained(tiny(kind)).eval()
    batch = {key: value for key, value in ragged_batch().items() if key in ("input_ids", "attention_mask")}
    chosen = (torch.rand(batch["input_ids"].shape) < 0.4) & batch["attention_mask"].bool()
    full = model(**batch).logits
    with only_tokens(getattr(model, model.base_model_prefix), chosen):
        few = model(**batch).logits
    assert few.shape == (1, int(chosen.sum()), 100)
    torch.testing.assert_close(few[0], full[chosen])
    torch.testing.assert_close(model(**batch).logits, full)  # the model is as before
    grads = [torch.autograd.grad(x.logsumexp(-1).sum(), model.get_input_embeddings().weight)[0] for x in (few, full[chosen])]
    torch.testing.assert_close(*grads)


def test_no_token_chosen(tiny: Tiny) -> None:
    model = AutoModelForMaskedLM.from_pretrained(tiny("bert"))
    batch = ragged_batch()
    with only_tokens(model.bert, torch.zeros_like(batch["input_ids"]).bool()):
        assert model(input_ids=batch["input_ids"]).logits.shape == (1, 0, 100)


# The loss


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert"])
@pytest.mark.parametrize("tuning", [None, LoRA(r=2)])
def test_loss_is_that_of_transformers(kind: str, tuning: Any, tiny: Tiny, tmp_path: Path) -> None:
    task = module(without_dropout(tiny(kind), tmp_path / "model"), **({"tuning": tuning} if tuning else {}))
    batch = ragged_batch()
    labels = batch["input_ids"].masked_fill(torch.rand(batch["input_ids"].shape) > 0.4, IGNORED)
    labels[batch["attention_mask"] == 0] = IGNORED
    counts = (labels != IGNORED).sum(1)
    given = {**batch, "labels": labels, "loss_weights": counts.float(), "loss_denominator": float(counts.sum())}
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    expected = task.model(**inputs, labels=labels).loss
    torch.testing.assert_close(task.training_step(given, 0), expected)
    alone = torch.stack([task.model(**{k: v[i : i + 1] for k, v in inputs.items()}).logits[0] for i in range(4)])
    token_losses = torch.nn.functional.cross_entropy(alone.transpose(1, 2), labels, reduction="none")
    torch.testing.assert_close(task.losses(task.logits(given), given), token_losses.sum(1))


def test_metrics_over_unequal_batches(backbone: str, corpus: str) -> None:
    task, wanted = module(backbone), {"mask_probability": 0.4}
    found = evaluated(task, [batch_of(corpus, backbone, i, **wanted) for i in ([0, 1, 2], [3], [4, 5])])
    batch = batch_of(corpus, backbone, list(range(6)), **wanted)
    logits = task(batch).logits
    mask = batch["labels"] != IGNORED
    loss = torch.nn.functional.cross_entropy(logits[mask], batch["labels"][mask]).detach()
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(float(loss)), rel=1e-5)
    assert found["accuracy"] == pytest.approx(float((logits[mask].argmax(-1) == batch["labels"][mask]).float().mean()))
    decoded = task.decode(task.evaluate_batch(batch).scores, batch)
    shares = [part["prediction"] * part["targets"] for part in decoded if part]
    assert sum(shares) / int(mask.sum()) == pytest.approx(float(loss), rel=1e-5)


def test_perplexity_is_of_the_probabilities_whatever_the_loss(backbone: str, corpus: str) -> None:
    batch = batch_of(corpus, backbone, [0, 1, 2])
    plain = evaluated(module(backbone), [batch])
    smooth = evaluated(module(backbone, loss=CrossEntropy(label_smoothing=0.3)), [batch])
    assert smooth["perplexity"] == pytest.approx(plain["perplexity"])
    assert smooth["loss"] != plain["loss"]


# Next sentence prediction


def test_next_sentence_loss_is_bert_s(backbone: str, corpus: str) -> None:
    task = module(backbone, next_sentence=True)
    assert isinstance(task.model, BertForPreTraining)
    batch = batch_of(corpus, backbone, [0, 1, 2, 3, 4], next_sentence=True, document_unit="blank_line")
    batch["loss_denominator"] = float(batch["loss_weights"].sum())
    found = task.training_step(batch, 0)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    output = task.model(**inputs)
    flat = output.prediction_logits[batch["labels"] != IGNORED]
    masked = torch.nn.functional.cross_entropy(flat, batch["labels"][batch["labels"] != IGNORED])
    each: Tensor = torch.nn.functional.cross_entropy(output.seq_relationship_logits, batch["next_sentence"], reduction="none")
    torch.testing.assert_close(found, masked + (each * batch["loss_weights"]).sum() / batch["loss_weights"].sum())
    values = evaluated(task, [batch])
    right = output.seq_relationship_logits.argmax(-1) == batch["next_sentence"]
    assert values["nsp_accuracy"] == pytest.approx(float(right.float().mean()))
    assert values["perplexity"] == pytest.approx(math.exp(float(masked)), rel=1e-5)


def test_the_next_sentence_can_be_monitored(backbone: str, corpus: str) -> None:
    task = module(backbone, next_sentence=True, monitor="val/nsp_accuracy")
    assert task.mode == "max"
    assert task.evaluators["val"].means["nsp"].compute().dtype == torch.float64
    task.log_dict = lambda *given, **options: None  # type: ignore[method-assign]
    stage = {"state": SimpleNamespace(fn="validate"), "sanity_checking": False, "world_size": 1}
    task.trainer = SimpleNamespace(**stage)  # type: ignore[assignment]
    batch = batch_of(corpus, backbone, [0, 1, 2], next_sentence=True, document_unit="blank_line")
    with torch.no_grad():
        task.evaluators["val"].update(task.eval(), batch)
    task.evaluators["val"].finish(task)
    means = task.evaluators["val"].means
    assert list(means) == ["loss", "nll", "nsp"]
    assert all(float(state) == 0 for mean in means.values() for state in mean.metric_state.values())


def test_perplexity_stays_a_number_when_it_is_logged() -> None:
    assert math.isfinite(float(torch.tensor(perplexity(1000.0), dtype=torch.float32)))
    assert math.isnan(perplexity(float("nan")))
    assert perplexity(2.0) == math.exp(2)


def test_next_sentence_needs_bert(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"next_sentence needs a BERT backbone, and .* is roberta"):
        module(tiny("roberta"), next_sentence=True)


# Options


def test_a_language_model_keeps_its_head(backbone: str) -> None:
    with pytest.raises(UserError, match="predicts tokens with the backbone's own head"):
        module(backbone, head=PooledHead())


def test_mask_probability_is_checked(backbone: str) -> None:
    with pytest.raises(UserError, match=r"mask_probability must be above 0 and at most 1, got 1\.5"):
        module(backbone, mask_probability=1.5)


def test_from_scratch_takes_the_architecture_alone(backbone: str) -> None:
    given, fresh = module(backbone), module(backbone, pretrained=False)
    shapes = [{name: weight.shape for name, weight in task.model.state_dict().items()} for task in (given, fresh)]
    assert shapes[0] == shapes[1]
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(given.model.state_dict()[name], fresh.model.state_dict()[name])
    assert fresh.model.get_output_embeddings().weight is fresh.model.get_input_embeddings().weight
    assert fresh.model.training
    assert all(weight.requires_grad for weight in fresh.model.parameters())
    with pytest.raises(UserError, match="pretrained is false: random weights must all train, but LoRA"):
        module(backbone, pretrained=False, tuning=LoRA())


# A run


def test_a_run_and_what_comes_of_it(backbone: str, corpus: str, tmp_path: Path) -> None:
    rate = {"model__optimizer": "torch.optim.AdamW", "model__optimizer__init_args__lr": 0.01}
    options = {
        "model__mask_probability": 0.3,
        "data__max_length": 32,
        "trainer__max_epochs": 4,
        "evaluate_untrained": "true",
        **rate,
    }
    given = {"model__backbone": backbone, "data__dataset": corpus, "run_dir": tmp_path / "run", **options}
    run(arguments("fit", "MaskedLM", "CorpusData", **given))
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["validation"]["perplexity"] < results["before"]["validation"]["perplexity"]
    assert results["validation"]["perplexity"] == pytest.approx(math.exp(results["validation"]["loss"]))
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["data"]["splits"]["train"]["counts"]["blocks"] > 10
    lines = [json.loads(line) for line in (tmp_path / "run/predictions/validation.jsonl").read_text().splitlines()]
    total = sum(line["prediction"] * line["targets"] for line in lines)
    assert total / sum(line["targets"] for line in lines) == pytest.approx(results["validation"]["loss"], rel=1e-5)
    data = ftlit.load(tmp_path / "run").data
    assert (data.objective, data.mask_probability) == ("masked", 0.3)
    _fills_in(tmp_path / "run")


def _fills_in(folder: Path) -> None:
    found = ftlit.load(folder)(["word1 word75 word2 word75", "word3"], batch_size=2)
    assert len(found[0]["tokens"]) == len(found[0]["score"]) == 2
    words = found[0]["prediction"].split()
    assert [words[0], words[2]] == ["word1", "word2"]
    assert found[0]["tokens"] == [words[1], words[3]] or len(words) != 4  # a special token is not shown
    assert found[1]["tokens"] == []
    assert found[1]["prediction"] == "word3"

"""A run that starts from an earlier one: its backbone is there, its head if it fits, and what does not fit is said."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import ftlit
from ftlit.commands.cli import run
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.optimization.keep import L2SP, trained_weights
from ftlit.runs.checkpoint import load_task
from ftlit.tasks import CausalLM, MaskedLM, RelationExtraction, Seq2Seq, TaskModule, TextClassification, TextRegression
from ftlit.tuning import LoRA
from tests.support.chats import chat_model
from tests.support.command_line import arguments
from tests.support.data import RELATIONS, sentiment_rows, write_splits
from tests.support.runs import fitted
from tests.support.small import classifier, logits_of, ragged_batch, without_dropout

Tiny = Callable[[str], str]


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture(scope="module")
def backbone(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = without_dropout(tiny("bert"), tmp_path_factory.mktemp("model") / "bert")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = "word75"
    tokenizer.save_pretrained(folder)
    return folder


def pretrained(folder: Path, backbone: str, **options: Any) -> str:
    """A run of masked language modelling."""
    corpus = folder.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    for split in ("train", "validation"):
        (corpus / f"{split}.txt").write_text("".join(row["text"] + "\n" for row in sentiment_rows(40, 0)))
    rate = {"model__optimizer": "torch.optim.AdamW", "model__optimizer__init_args__lr": 0.01}
    given = {"model__backbone": backbone, "data__dataset": corpus, "data__max_length": 32, **rate, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        run(arguments("fit", "MaskedLM", "CorpusData", run_dir=folder, **given))
    return str(folder)


@pytest.fixture(scope="module")
def full(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return pretrained(tmp_path_factory.mktemp("runs") / "full", backbone)


@pytest.fixture(scope="module")
def lora(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return pretrained(tmp_path_factory.mktemp("runs") / "lora", backbone, model__tuning="LoRA", model__tuning__r=2)


def weights(run_dir: str) -> dict[str, Tensor]:
    """The merged backbone of a run."""
    task: TaskModule = load_task(Path(run_dir) / "checkpoints/best.ckpt")
    return task.tuning.merge(task.backbone).state_dict()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_backbone_is_that_of_the_run(method: str, backbone: str, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(method)
    earlier, plain = weights(source), classifier(backbone)
    task = classifier(backbone, init_from=source)
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(earlier[name], plain.backbone.state_dict()[name])
    own = task.backbone.state_dict()
    assert {key for key in own if key not in earlier} == {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(torch.equal(own[key], weight) for key, weight in earlier.items())
    for key in ("pooler.dense.weight", "pooler.dense.bias"):  # a language model has none: it is the backbone's
        assert torch.equal(own[key], plain.backbone.state_dict()[key])
    assert torch.equal(task.model.classifier.weight, plain.model.classifier.weight)


def test_tuning_is_applied_on_top(backbone: str, full: str) -> None:
    task = classifier(backbone, init_from=full, tuning=LoRA(r=2))
    merged = task.tuning.merge(task.backbone).state_dict()
    assert all(torch.equal(merged[key], weight) for key, weight in weights(full).items())
    assert task.frozen_digest != classifier(backbone, tuning=LoRA(r=2)).frozen_digest


def test_other_heads_start_from_it_too(backbone: str, full: str) -> None:
    task = classifier(backbone, init_from=full, head=PooledHead())
    own = task.backbone.state_dict()
    assert all(torch.equal(own[key], weight) for key, weight in weights(full).items())


def test_a_folder_of_hugging_face(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = AutoModelForMaskedLM.from_config(AutoModel.from_pretrained(backbone).config)
    other.save_pretrained(tmp_path / "exported")
    task = classifier(backbone, init_from=str(tmp_path / "exported"))
    own = task.backbone.state_dict()
    assert all(torch.equal(own[key], weight) for key, weight in other.bert.state_dict().items())
    plain = classifier(backbone).backbone.state_dict()["pooler.dense.weight"]  # the folder has none
    assert torch.equal(own["pooler.dense.weight"], plain)


def test_fresh_parts_are_trained_unless_the_earlier_run_had_them(backbone: str, full: str, tmp_path: Path) -> None:
    bare = shutil.copytree(backbone, tmp_path / "bare")
    AutoModel.from_pretrained(backbone, add_pooling_layer=False).save_pretrained(bare)  # as in a masked language model

    def pooler_trains(**options: Any) -> bool:
        return classifier(str(bare), tuning=LoRA(r=2), **options).backbone.get_parameter(name).requires_grad

    name = "base_model.model.pooler.dense.weight"
    assert pooler_trains()
    assert pooler_trains(init_from=full)
    assert not pooler_trains(init_from=backbone)


@pytest.mark.parametrize("tuning", [pytest.param("Full", marks=pytest.mark.slow), "LoRA"])
@pytest.mark.slow
def test_the_second_run_by_itself(tuning: str, backbone: str, full: str, sentiment: str, tmp_path: Path) -> None:
    first = shutil.copytree(full, tmp_path / "first")
    given = {"model__backbone": backbone, "data__dataset": sentiment, "data__limit_train": 24, "model__tuning": tuning}
    run_dir = tmp_path / "second"
    run(arguments("fit", "TextClassification", "TextClassificationData", run_dir=run_dir, model__init_from=first, **given))
    rows = [json.loads(line) for line in (run_dir / "predictions/validation.jsonl").read_text().splitlines()]
    found = ftlit.load(run_dir)([row["text"] for row in rows], batch_size=8)
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in rows], abs=1e-6)
    shutil.rmtree(first)
    if tuning == "Full":  # its checkpoint holds every weight
        again = ftlit.load(run_dir)([row["text"] for row in rows], batch_size=8)
        assert [row["score"] for row in again] == [row["score"] for row in found]
        return
    with pytest.raises(UserError, match=r"model.init_from '.*first' holds neither a finished run"):
        ftlit.load(run_dir)
    pretrained(first, backbone, seed_everything=3)  # another run in its place
    with pytest.raises(UserError, match=r"the frozen weights of model.backbone .* are not those .* the same model.init_from"):
        ftlit.load(run_dir)


# Added tokens, joined models, heads of language models


def relation_task(backbone: str, **options: Any) -> RelationExtraction:
    return RelationExtraction(
        label_names=RELATIONS, added_tokens=[100, 101, 102, 103], backbone=backbone, pad_token_id=0, **options
    )


@pytest.mark.slow
def test_relations_start_from_it_and_are_started_from(backbone: str, full: str, relations: str, tmp_path: Path) -> None:
    name, run_dir = "embeddings.word_embeddings", tmp_path / "relations"
    task = relation_task(backbone, init_from=full, tuning=LoRA(r=2))
    merged = task.tuning.merge(task.backbone).state_dict()
    assert torch.equal(merged[f"{name}.weight"], weights(full)[f"{name}.weight"])
    given = {"model__backbone": backbone, "data__dataset": relations, "data__limit_train": 16, "run_dir": run_dir}
    run(arguments("fit", "RelationExtraction", "RelationExtractionData", **given))
    earlier = weights(str(run_dir))
    again = relation_task(backbone, init_from=str(run_dir), tuning=LoRA(r=2))
    [(_, extra)] = [(key, weight) for key, weight in again.named_parameters() if key.endswith(".extra")]
    assert torch.equal(extra, earlier[f"{name}.extra"])
    assert extra.requires_grad
    fewer = relation_task(backbone, init_from=str(run_dir), head=PooledHead())
    assert torch.equal(fewer.backbone.state_dict()[f"{name}.extra"], earlier[f"{name}.extra"])
    plain = classifier(backbone, init_from=str(run_dir))
    assert torch.equal(plain.backbone.state_dict()[f"{name}.weight"], earlier[f"{name}.weight"])


def test_the_encoder_of_a_joined_model(backbone: str, full: str, tmp_path: Path) -> None:
    def joined(**options: Any) -> dict[str, Tensor]:
        return Seq2Seq(backbone=backbone, decoder=backbone, pad_token_id=0, **options).model.state_dict()

    own, earlier, plain = joined(init_from=full), weights(full), joined()
    assert all(torch.equal(own[f"encoder.{key}"], weight) for key, weight in earlier.items())
    name = "decoder.bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(own[name], plain[name])
    torch.manual_seed(5)
    other = AutoModel.from_config(AutoModel.from_pretrained(backbone).config)
    other.save_pretrained(tmp_path / "exported")
    own = joined(init_from=str(tmp_path / "exported"))
    name = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(own[f"encoder.{name}"], other.state_dict()[name])


def test_a_language_model_takes_the_head_too(backbone: str, full: str, tmp_path: Path) -> None:
    earlier = load_task(Path(full) / "checkpoints/best.ckpt").model.state_dict()
    task = MaskedLM(backbone=backbone, pad_token_id=0, init_from=full, tuning=LoRA(r=2))
    name = "cls.predictions.transform.dense.weight"
    assert torch.equal(task.model.state_dict()[name], earlier[name])
    assert not task.model.get_parameter(name).requires_grad
    assert MaskedLM(backbone=backbone, pad_token_id=0, tuning=LoRA(r=2)).model.get_parameter(name).requires_grad  # new
    folders = [chat_model(tmp_path / name) for name in ("one", "other")]
    torch.manual_seed(3)
    other = AutoModelForCausalLM.from_config(AutoModel.from_pretrained(folders[1]).config)
    other.save_pretrained(folders[1])
    taken = CausalLM(backbone=folders[0], pad_token_id=0, init_from=folders[1])
    assert torch.equal(taken.model.lm_head.weight, other.lm_head.weight)


# What does not fit


def test_a_run_that_has_not_finished(backbone: str, full: str, tmp_path: Path) -> None:
    copy = shutil.copytree(full, tmp_path / "copy")
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**record, "status": "running"}))
    with pytest.raises(UserError, match=r"has not finished: run\.json says running; finish it with --resume"):
        classifier(backbone, init_from=str(copy))


def test_experiments_wait_for_the_run_that_they_begin_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    from experiments import tasks

    monkeypatch.setattr(tasks, "RUNS", tmp_path)
    begun: list[str] = []

    def fake(command: list[str], **options: Any) -> Any:
        folder = Path(command[command.index("--run_dir") + 1])
        begun.append(folder.name)
        if "mlm" in folder.name:
            write_splits(folder, {})
            (folder / "results.json").write_text('{"validation": {}}')
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(tasks.subprocess, "run", fake)
    later, first = tasks.Cell("sst2_adapted", 1), tasks.Cell("wikitext2_mlm", 0)
    tasks.run_all([later], 2)
    assert begun == []
    assert "skipped sst2_adapted_seed1: it begins from" in capsys.readouterr().err
    tasks.run_all([later, first], 2)
    assert begun == ["wikitext2_mlm_seed0", "sst2_adapted_seed1"]


def test_no_such_run(backbone: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither a finished run .* nor a Hugging Face model"):
        classifier(backbone, init_from=str(tmp_path))


def test_another_architecture(tiny: Tiny, full: str) -> None:
    with pytest.raises(UserError, match=r"is a bert model, and model.backbone .* is roberta"):
        classifier(tiny("roberta"), init_from=full)


def _changed(backbone: str, to: Path, **config: Any) -> str:
    """A model with other sizes and the same tokenizer."""
    shutil.copytree(backbone, to)
    settings = AutoModel.from_pretrained(backbone).config
    settings.update(config)
    AutoModel.from_config(settings).save_pretrained(to)
    return str(to)


def test_other_sizes(backbone: str, full: str, tmp_path: Path) -> None:
    wide = _changed(backbone, tmp_path / "wide", intermediate_size=64)
    with pytest.raises(UserError, match=r"weights differ in shape, such as .* with \(48,\) there and \(64,\) here"):
        classifier(wide, init_from=full)
    deep = _changed(backbone, tmp_path / "deep", num_hidden_layers=3)
    with pytest.raises(UserError, match=r"16 weights are in one of them only, such as encoder\.layer\.2\."):
        classifier(deep, init_from=full)


def test_another_vocabulary(backbone: str, full: str, tmp_path: Path) -> None:
    other = shutil.copytree(backbone, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["good"], words["bad"] = words["bad"], words["good"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=r"has another vocabulary than model.backbone .*: 2 of its 100 tokens"):
        classifier(str(other), init_from=full)


# Heads of the same task


def test_the_head_is_kept_by_the_names_of_labels(finished: Callable[[str], Path], tiny: Tiny) -> None:
    source = finished("Full")
    earlier = load_task(source / "checkpoints/best.ckpt").eval()
    batch, states = ragged_batch(), {}
    for names in (["bad", "good"], ["good", "odd", "bad"], ["new", "other"]):
        torch.manual_seed(3)
        plain = TextClassification(label_names=names, backbone=tiny("bert"), pad_token_id=0)
        torch.manual_seed(3)
        states[len(names), names[0]] = task = TextClassification(
            label_names=names, backbone=tiny("bert"), pad_token_id=0, init_from=str(source)
        )
        own, fresh, old = (one.model.classifier for one in (task, plain, earlier))
        for row, name in enumerate(names):
            known = name in earlier.label_names
            expected, place = (old, earlier.label_names.index(name)) if known else (fresh, row)
            assert torch.equal(own.weight[row], expected.weight[place]), name
            assert torch.equal(own.bias[row], expected.bias[place]), name
        columns = [(names.index(n), earlier.label_names.index(n)) for n in names if n in earlier.label_names]
        for here, there in columns:  # the old labels have the old logits
            torch.testing.assert_close(logits_of(task, batch)[:, here], logits_of(earlier, batch)[:, there])
    assert "new are the labels odd" in "".join(states[3, "good"].notes)
    assert "the head begins with that of model.init_from" in states[2, "bad"].notes
    assert not any("head begins with" in note for note in states[2, "new"].notes)


def test_a_kept_head_is_held_by_its_rows(finished: Callable[[str], Path], tiny: Tiny) -> None:
    names = ["good", "odd", "bad"]
    given = {"backbone": tiny("bert"), "pad_token_id": 0, "init_from": str(finished("Full"))}
    task = TextClassification(label_names=names, keep=L2SP(alpha=2.0, beta=1.0), tuning=LoRA(r=2), **given)
    pulls = task.keep.pulls(trained_weights(task.model), lambda *_: {})  # type: ignore[union-attr]
    weight = task.model.classifier.weight
    assert weight.requires_grad
    assert pulls["classifier.weight"].strength.flatten().tolist() == [2, 1, 2]
    assert torch.equal(pulls["classifier.weight"].target[[0, 2]], weight.detach()[[0, 2]])
    assert not pulls["classifier.weight"].target[1].any()
    assert all(pull.strength == 2 for name, pull in pulls.items() if "lora_" in name)


def test_a_regression_goes_on_in_another_unit(tiny: Tiny, grades: str, tmp_path: Path) -> None:
    columns = {"data__label": "score", "data__text_pair": "other"}
    run_dir = fitted(tmp_path / "first", "TextRegression", model__backbone=tiny("bert"), data__dataset=grades, **columns)
    earlier, batch = load_task(run_dir / "checkpoints/best.ckpt").eval(), ragged_batch()
    task = TextRegression(backbone=tiny("bert"), pad_token_id=0, label_scale=[50.0, 7.0], init_from=str(run_dir))
    one, other = (logits_of(each, batch) * each.deviation + each.mean for each in (task, earlier))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)

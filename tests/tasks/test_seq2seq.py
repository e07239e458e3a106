"""Losses and texts against transformers' own, joined models, and what is written when."""

import io
import json
import math
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, BertConfig, BertModel

import ftlit
from ftlit.commands.cli import run
from ftlit.data import Seq2SeqData
from ftlit.data.batches.batching import MicroBatch
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.losses import MSE, CrossEntropy
from ftlit.metrics.text import metric_keys, text_scores
from ftlit.models.generation import Generation
from ftlit.models.layer_depths import depths
from ftlit.optimization.parameter_groups import param_groups
from ftlit.tasks import Seq2Seq
from ftlit.tasks.seq2seq import source
from ftlit.tuning import Frozen, Full, LoRA, TopLayers
from ftlit.util.batch import FILLER
from tests.support.command_line import arguments
from tests.support.small import saved

Tiny = Callable[[str], str]
MODELS = ("t5", "bart", "marian", "joined")
LENGTH = 12


@pytest.fixture
def names(tiny: Tiny, tiny_seq2seq: Tiny) -> Callable[[str], dict[str, str]]:
    """The options that name a model."""
    return lambda model: (
        {"backbone": tiny("bert"), "decoder": tiny("bert")} if model == "joined" else {"backbone": tiny_seq2seq(model)}
    )


@pytest.fixture
def make(names: Any) -> Callable[..., Seq2Seq]:
    """A module whose fresh weights come from a seed."""

    def build(model: str, **options: Any) -> Seq2Seq:
        given = names(model)  # which may make the models, with random numbers
        torch.manual_seed(0)
        return Seq2Seq(**{"pad_token_id": 0, "max_target_length": LENGTH, **given, **options})

    return build


@pytest.fixture
def batch_for(names: Any, reversals: str) -> Callable[..., dict[str, Any]]:
    """The first rows of a split as a batch."""

    def build(model: str, split: str = "train", rows: int = 6) -> dict[str, Any]:
        data = Seq2SeqData(dataset=reversals, **names(model))
        data.setup()
        columns = data.encoded[split][:rows]
        return data._collate((columns, MicroBatch(list(range(rows)), float(sum(columns["loss_weights"])))))

    return build


def inputs(batch: dict[str, Any]) -> dict[str, Tensor]:
    return {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids") if key in batch}


# The loss


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_is_that_of_transformers(model: str, make: Any, batch_for: Any) -> None:
    module, batch = make(model).eval(), batch_for(model)
    with torch.no_grad():
        expected = module.model(**inputs(batch), labels=batch["labels"])
        logits = module.logits(batch)
        real = batch["labels"] != -100
        assert torch.allclose(logits[real], expected.logits[real], atol=1e-5)
        assert float(module.training_step(batch, 0)) == pytest.approx(float(expected.loss), rel=1e-5)
        smooth = make(model, loss=CrossEntropy(label_smoothing=0.1)).eval()
        peer = nn.CrossEntropyLoss(label_smoothing=0.1)(expected.logits.flatten(0, 1), batch["labels"].flatten())
        assert float(smooth.training_step(batch, 0)) == pytest.approx(float(peer), rel=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_padding_changes_no_loss(model: str, make: Any, batch_for: Any) -> None:
    module, batch = make(model).eval(), batch_for(model)
    alone = batch_for(model, rows=1)
    with torch.no_grad():
        together = module.losses(module.logits(batch), batch)[0]
        assert torch.allclose(together, module.losses(module.logits(alone), alone)[0], atol=1e-4)


def test_decoder_inputs_without_a_method_of_the_model(make: Any, batch_for: Any) -> None:
    module, labels = make("bart"), batch_for("bart")["labels"]
    expected = module.decoder_inputs(labels)
    module.model = nn.Module()
    module.model.config = SimpleNamespace(pad_token_id=0, decoder_start_token_id=3)
    assert torch.equal(module.decoder_inputs(labels), expected)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_every_trained_weight_has_a_gradient(model: str, make: Any, batch_for: Any) -> None:
    for tuning in (Full(), LoRA(r=2), TopLayers(1)):
        module = make(model, tuning=tuning)
        module.training_step(batch_for(model), 0).backward()
        assert [n for n, w in module.named_parameters() if w.requires_grad != (w.grad is not None)] == []


# Written texts

SETTINGS = [
    Generation(),
    Generation(num_beams=3, length_penalty=0.5, no_repeat_ngram_size=2, max_new_tokens=7),
    Generation(min_new_tokens=5, repetition_penalty=1.3, forced_bos_token="great"),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_texts_are_those_of_transformers(model: str, settings: Generation, make: Any, batch_for: Any) -> None:
    module, batch = make(model, generation=settings).eval(), batch_for(model)
    given = {
        "max_new_tokens": settings.max_new_tokens or LENGTH,
        **({"num_beams": 3, "length_penalty": 0.5, "no_repeat_ngram_size": 2} if settings.num_beams > 1 else {}),
        **({"min_new_tokens": 5, "repetition_penalty": 1.3} if settings.min_new_tokens else {}),
        **({"forced_bos_token_id": 7} if settings.forced_bos_token else {}),
    }
    expected = module.model.generate(**inputs(batch), **given)
    texts = [text.strip() for text in module.tokenizer.batch_decode(expected, skip_special_tokens=True)]
    assert [row["prediction"] for row in module.predict_batch(batch)] == texts
    assert not settings.forced_bos_token or all(text.startswith("great") for text in texts)
    # The settings of the model's own files have no part.
    own = module.model.generation_config
    own.num_beams, own.min_length, own.no_repeat_ngram_size, own.length_penalty = 4, 9, 1, 3.0
    assert [row["prediction"] for row in module.predict_batch(batch)] == texts


@pytest.mark.parametrize("model", MODELS)
def test_a_text_does_not_depend_on_its_batch(model: str, make: Any, batch_for: Any) -> None:
    module, batch = make(model).eval(), batch_for(model)
    some = [source(batch, i) for i in (4, 1)]
    assert module.texts(some) == [module.predict_batch(batch)[i]["prediction"] for i in (4, 1)]


def test_sampling_repeats_and_leaves_chance_as_it_is(make: Any, batch_for: Any) -> None:
    batch = batch_for("t5")
    found = []
    for seed in (1, 1, 2):
        module = make("t5", generation=Generation(do_sample=True, temperature=3.0, top_p=0.9, seed=seed)).eval()
        before = torch.get_rng_state()
        found.append(module.predict_batch(batch))
        assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1] != found[2]


# Joined models


def test_a_joined_model_keeps_what_is_pretrained_and_trains_what_is_new(make: Any, tiny: Tiny) -> None:
    module = make("joined", tuning=Frozen())
    files = load_file(f"{tiny('bert')}/model.safetensors")
    state = module.model.state_dict()
    pretrained = {name: weight for name, weight in files.items() if not name.startswith("pooler")}
    for prefix in ("encoder.", "decoder.bert."):
        for name, weight in pretrained.items():
            assert torch.equal(state[prefix + name], weight), name
    trained = {name for name, weight in module.model.named_parameters() if weight.requires_grad}
    held = {prefix + name for prefix in ("encoder.", "decoder.bert.") for name in pretrained}
    assert trained == {name for name, _ in module.model.named_parameters()} - held
    assert any("crossattention" in name for name in trained)
    assert module.model.get_output_embeddings().weight is module.model.decoder.get_input_embeddings().weight


@pytest.mark.parametrize("tuning", [LoRA(r=2), Frozen()], ids=["LoRA", "Frozen"])
def test_new_weights_of_a_joined_model_move_and_are_saved(tuning: Any, make: Any, batch_for: Any) -> None:
    module, batch = make("joined", tuning=tuning), batch_for("joined")
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    optimizer = torch.optim.Adam(param_groups(module.model, module.backbone), lr=1e-2)
    for _ in range(2):
        module.training_step(batch, 0).backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, weight in module.named_parameters() if not torch.equal(weight, before[name])}
    new = {name for name in before if "crossattention" in name or ".cls.predictions." in name}
    adapters = {name for name in before if ".lora_" in name}
    # A key's bias shifts all scores of a query alike, which softmax does not see.
    still = {name for name in new if "key" in name and name.endswith("bias")}
    assert (moved | still) - {n for n in new if ".cls.predictions.decoder" in n} == (new | adapters | still) - {
        n for n in new if ".cls.predictions.decoder" in n
    }
    torch.manual_seed(1)
    again = make("joined", tuning=tuning)
    checkpoint = saved(module)
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    assert again.eval().predict_batch(batch) == module.eval().predict_batch(batch)
    with torch.no_grad():
        assert torch.equal(again.logits(batch), module.logits(batch))


def test_models_of_two_widths_are_joined_by_a_new_projection(make: Any, tiny: Tiny, batch_for: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny("bert"), tmp_path / "narrow")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=100, max_position_embeddings=64, **sizes)).save_pretrained(tmp_path / "narrow")
    module, batch = make("joined", backbone=str(tmp_path / "narrow"), tuning=Frozen()), batch_for("joined")
    module.training_step(batch, 0).backward()
    assert module.model.enc_to_dec_proj.weight.grad.abs().sum() > 0
    assert len(module.eval().predict_batch(batch)) == 6


def test_a_decoder_without_cls_and_pad_begins_with_bos(make: Any, tiny: Tiny, batch_for: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny("gpt2"), tmp_path / "gpt2")
    settings = tmp_path / "gpt2" / "tokenizer_config.json"
    known = json.loads(settings.read_text())
    ends = {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    settings.write_text(json.dumps({k: v for k, v in known.items() if k not in ("cls_token", "sep_token", "pad_token")} | ends))
    module = make("joined", decoder=str(tmp_path / "gpt2"))
    config = module.model.config
    assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (2, 3, 3)
    assert torch.isfinite(module.training_step(batch_for("joined"), 0))
    assert len(module.eval().predict_batch(batch_for("joined"))) == 6


# Layers


@pytest.mark.parametrize(
    ("model", "top"),
    [
        ("t5", ["encoder.block.1.", "decoder.block.1.", "encoder.final_layer_norm", "decoder.final_layer_norm"]),
        ("bart", ["encoder.layers.1.", "decoder.layers.1."]),
        ("joined", ["encoder.encoder.layer.1.", "decoder.bert.encoder.layer.1.", "crossattention", "decoder.cls."]),
    ],
)
def test_top_layers_are_those_of_both_stacks(model: str, top: list[str], make: Any) -> None:
    module = make(model, tuning=TopLayers(1))
    for name, weight in module.model.named_parameters():
        assert weight.requires_grad == any(part in name for part in top), name


def test_stacks_of_unequal_depth_end_together(make: Any, tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("bert"), tmp_path / "deep")
    config = BertConfig.from_pretrained(tiny("bert"), num_hidden_layers=3)
    BertModel(config).save_pretrained(tmp_path / "deep")
    depth = depths(make("joined", backbone=str(tmp_path / "deep")).backbone)
    names = {"encoder.encoder.layer.2.output.dense.bias": 3, "decoder.bert.encoder.layer.1.output.dense.bias": 3}
    names |= {"decoder.bert.encoder.layer.0.output.dense.bias": 2, "encoder.embeddings.word_embeddings.weight": 0}
    assert {name: depth[name] for name in names} == names
    tuned = make("t5", tuning=LoRA(r=2)).backbone  # wrapped by peft, in the order of its parameters
    assert list(depths(tuned)) == [name for name, _ in tuned.named_parameters(remove_duplicate=False)]
    assert next(d for name, d in depths(tuned).items() if "decoder.block.1" in name and "lora_A" in name) == 2


def test_marian_s_positions_are_a_formula(make: Any) -> None:
    frozen = [name for name, weight in make("marian").named_parameters() if not weight.requires_grad]
    assert len(frozen) == 2
    assert all("embed_positions" in name for name in frozen)


# Evaluation


def attach(module: Seq2Seq, command: str, epoch: int = 0, sanity: bool = False) -> None:
    """Let a module think that a trainer of one process runs it."""
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        **{"state": SimpleNamespace(fn=command), "current_epoch": epoch, "world_size": 1, "sanity_checking": sanity},
        **{"is_global_zero": False, "precision_plugin": SimpleNamespace(forward_context=nullcontext)},
    )


def summary(module: Seq2Seq, batch: dict[str, Any]) -> dict[str, float]:
    """The values of an evaluation of one batch."""
    with torch.no_grad():
        module.evaluators["val"].update(module.eval(), batch)
    module.evaluators["val"].gather(module)
    return module.corpus_metrics(module.evaluators["val"])


def test_metrics_are_those_of_all_references(make: Any, batch_for: Any) -> None:
    module, batch = make("t5", metrics=["bleu", "token_f1"], loss=CrossEntropy(label_smoothing=0.1)), batch_for("t5", "test")
    attach(module, "test")
    found = summary(module, batch)
    texts = [row["prediction"] for row in module.predict_batch(batch)]
    assert [len(texts) for texts in batch["metadata"]["reference"]] == [2] * 6
    expected = text_scores(["bleu", "token_f1"], texts, batch["metadata"]["reference"])
    nll = float(module.model(**inputs(batch), labels=batch["labels"]).loss.detach())
    assert found == pytest.approx({"perplexity": math.exp(nll), **expected}, rel=1e-5)
    assert set(found) == set(module.corpus_metric_names)
    assert float(module.evaluators["val"].means["loss"].compute()) != pytest.approx(nll, rel=1e-4)
    assert "nrefs:2" in module.evaluation_details(module.evaluators["val"])["signatures"]["bleu"]


def test_fillers_write_nothing(make: Any, batch_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = make("t5", metrics=["bleu"]), batch_for("t5")
    attach(module, "fit")
    monkeypatch.setattr(Generation, "texts", lambda *given: pytest.fail("texts were written"))
    assert summary(module, {**batch, "loss_denominator": FILLER}).keys() == {"perplexity"}
    assert module.evaluators["val"].predictions == {}


@pytest.mark.parametrize(
    ("command", "epoch", "options", "rows"),
    [
        ("fit", 0, {}, 6),
        ("fit", 0, {"generate_limit": 2}, 2),
        ("fit", 0, {"generate_limit": None}, 6),
        ("fit", 0, {"generate_every_n_epochs": 2}, 0),
        ("fit", 1, {"generate_every_n_epochs": 2}, 6),
        ("fit", 0, {"metrics": []}, 0),
        ("validate", 0, {"generate_limit": 2, "generate_every_n_epochs": 2}, 6),
    ],
)
def test_when_texts_are_written(
    command: str, epoch: int, options: dict[str, Any], rows: int, make: Any, batch_for: Any
) -> None:
    module = make("t5", **{"metrics": ["chrf"], **options})
    attach(module, command, epoch)
    assert ("chrf" in summary(module, batch_for("t5"))) == (rows > 0)
    assert list(module.evaluators["val"].predictions) == list(range(rows))


def test_the_sanity_check_writes_nothing(make: Any, batch_for: Any) -> None:
    module = make("t5", metrics=["chrf"])
    attach(module, "fit", sanity=True)
    assert summary(module, batch_for("t5")).keys() == {"perplexity"}


def test_a_loss_that_is_no_number_is_none_of_the_split(make: Any, batch_for: Any) -> None:
    module, batch = make("t5"), batch_for("t5")
    attach(module, "test")
    logits, evaluation = module.logits(batch).detach(), module.evaluators["val"]
    module.logits = lambda batch: logits  # type: ignore[method-assign]
    evaluation.update(module, batch)
    logits[0] = float("nan")
    evaluation.update(module, batch)
    assert math.isnan(float(module.evaluators["val"].means["loss"].compute()))
    assert math.isnan(module.corpus_metrics(evaluation)["perplexity"])


def test_the_keys_of_metrics_are_what_they_give() -> None:
    plain = ["bleu", "chrf", "rouge", "meteor", "exact_match", "token_f1"]
    assert set(metric_keys(plain)) == set(text_scores(plain, ["a b"], [["a b"]]))


def test_bertscore_names_its_encoder(tiny: Tiny) -> None:
    names = [f"bertscore:{tiny('bert')}"]
    found = text_scores(names, ["good fine"], [["good fine"]])
    assert tuple(found) == metric_keys(names)
    assert found["bertscore_f1"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tuning": Frozen()}, "leaves nothing to train: T5ForConditionalGeneration has no new head"),
        ({"head": PooledHead()}, "Seq2Seq takes no model.head"),
        ({"metrics": ["belu"]}, "unknown text metric 'belu'. Did you mean 'bleu'?"),
        ({"monitor": "val/bleu"}, "model.monitor 'val/bleu' is not a metric of this task"),
        (
            {"metrics": ["rouge"], "monitor": "val/rougeL", "generate_every_n_epochs": 2},
            "'val/rougeL' needs generated texts at every validation",
        ),
        ({"generate_every_n_epochs": 0}, "generate_every_n_epochs must be at least 1"),
        ({"metrics": ["bleu"], "generate_limit": 0}, "model.generate_limit must be at least 1, got 0"),
        ({"loss": CrossEntropy(class_weights="balanced")}, "weighs the labels of a list, and Seq2Seq has none"),
        ({"loss": MSE()}, "model.loss MSE does not fit Seq2Seq; use CrossEntropy or Focal"),
        ({"generation": Generation(num_beams=0)}, "model.generation.num_beams must be at least 1, got 0"),
        ({"generation": Generation(min_new_tokens=9, max_new_tokens=8)}, "max_new_tokens must be at least 9, got 8"),
        ({"generation": Generation(top_p=0.5)}, "model.generation.top_p has no effect without model.generation.do_sample"),
        ({"generation": Generation(do_sample=True, temperature=0.0)}, "model.generation.temperature must be above 0, got 0.0"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], sentence: str, make: Any) -> None:
    with pytest.raises(UserError) as raised:
        make("t5", **options)
    assert sentence in str(raised.value)


def test_texts_longer_than_the_decoder_writes(make: Any, batch_for: Any) -> None:
    with pytest.raises(UserError, match="max_new_tokens is 65, but the decoder writes at most 64"):
        make("bart", generation=Generation(max_new_tokens=65))
    with pytest.raises(UserError, match="forced_bos_token 'xx' is not a token"):
        make("bart", generation=Generation(forced_bos_token="xx")).predict_batch(batch_for("bart"))


def test_the_monitor_may_be_a_text_metric(make: Any) -> None:
    module = make("t5", metrics=["bleu"], monitor="val/bleu")
    assert (module.monitor, module.mode) == ("val/bleu", "max")
    assert make("t5", monitor="val/perplexity").mode == "min"


def test_low_rank_updates_are_loaded_again(make: Any, batch_for: Any, tiny_seq2seq: Tiny) -> None:
    batch = batch_for("bart")
    module = make("bart", tuning=LoRA(r=2))
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    plain, tuned = make("bart").eval().predict_batch(batch), module.eval().predict_batch(batch)
    again = make("bart", tuning=LoRA(r=2)).eval()
    again.load_state_dict(saved(module)["state_dict"])
    assert again.predict_batch(batch) == tuned != plain
    again.replace_backbone(again.tuning.merge(again.backbone))
    peer = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq("bart"))
    peer.load_state_dict(again.model.state_dict())
    with torch.no_grad():
        assert torch.allclose(peer(**inputs(batch), labels=batch["labels"]).logits, module.logits(batch), atol=1e-4)


# The command line


@pytest.fixture(scope="module")
def finished(tiny: Tiny, reversals: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of a joined model with LoRA, and what it printed."""
    folder = tmp_path_factory.mktemp("seq2seq") / "run"
    options = {
        "model__backbone": tiny("bert"),
        "model__decoder": tiny("bert"),
        "model__tuning": "LoRA",
        "model__metrics": "[bleu, rouge]",
        "model__monitor": "val/rougeL",
        "model__generation__num_beams": 2,
        "model__generation__min_new_tokens": 3,
        "model__optimizer": "torch.optim.AdamW",
        "model__optimizer__init_args__lr": 0.01,
        "data__dataset": reversals,
        "data__max_target_length": 20,
    }
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        patch.setattr(sys, "stdout", printed)
        run(arguments("fit", "Seq2Seq", "Seq2SeqData", run_dir=folder, test_after_fit="true", **options))
    return folder, printed.getvalue()


def test_a_run_leaves_its_texts_and_signatures(finished: tuple[Path, str], reversals: str) -> None:
    folder, printed = finished
    results = json.loads((folder / "results.json").read_text())
    lines = [json.loads(line) for line in (folder / "predictions/test.jsonl").read_text().splitlines()]
    assert len(lines) == 13
    scores = text_scores(["bleu", "rouge"], [line["prediction"] for line in lines], [line["label"] for line in lines])
    assert {key: results["test"][key] for key in scores} == pytest.approx(scores)
    assert results["test"]["perplexity"] == pytest.approx(math.exp(results["test"]["loss"]), rel=1e-5)
    signature = json.loads((folder / "test_report.json").read_text())["signatures"]["bleu"]
    assert signature in printed
    assert not (folder / "test_confusion.csv").exists()
    assert printed.count("  prediction: ") == 3  # of the one validation during training
    assert "targets cut at 20 tokens" in printed


def test_a_run_writes_the_same_of_new_sources(finished: tuple[Path, str], reversals: str) -> None:
    folder, _ = finished
    lines = [json.loads(line) for line in (folder / "predictions/test.jsonl").read_text().splitlines()]
    predictor = ftlit.load(folder)
    expected = [line["prediction"] for line in lines]
    assert all(expected)
    assert [row["prediction"] for row in predictor([{"source": line["source"]} for line in lines])] == expected
    assert [row["prediction"] for row in predictor([line["source"] for line in lines], batch_size=4)] == expected
    with pytest.raises(UserError, match="row 1: there is no column 'source'; this run needs the column 'source'"):
        predictor([{"text": "good"}])

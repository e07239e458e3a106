"""Causal language modelling: the loss of Hugging Face, the same packed; replies; a run from the command line."""

import io
import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import ftlit as package
from ftlit.data import ChatData, CorpusData
from ftlit.data.batches.batching import MicroBatch
from ftlit.errors import UserError
from ftlit.losses import BCE, CrossEntropy
from ftlit.models.generation import Generation
from ftlit.tasks import CausalLM, TaskModule
from ftlit.tasks.causal_lm import generations
from ftlit.tasks.shared.samples import GenerationQueue
from ftlit.tuning import Frozen, Full, LoRA, TopLayers
from ftlit.util.batch import IGNORED
from tests.support.chats import SPECIAL, chat_model, echoes
from tests.support.command_line import arguments, ftlit
from tests.support.data import write_splits

ROWS = {"train": echoes(40, 0), "validation": echoes(9, 1), "test": echoes(7, 2)}
KEYS = {"prompt": "question", "response": "answer", "template": "chatml", "max_length": 128}


@pytest.fixture(scope="session", params=["llama", "gpt2"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return chat_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return chat_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_splits(tmp_path_factory.mktemp("echoes"), ROWS)


def chat(rows: str, backbone: str, **options: Any) -> ChatData:
    data = ChatData(**{"dataset": rows, "backbone": backbone, **KEYS, **options})
    data.setup()
    return data


def task(data: ChatData, **options: Any) -> CausalLM:
    return CausalLM(backbone=data.backbone, pad_token_id=data.pad_token_id, stop_id=data.stop_id, **options)


def batch_of(data: ChatData, count: int = 8, epoch: int | None = None) -> dict[str, Any]:
    made = MicroBatch(list(range(count)), 1.0, epoch)
    return data.collate(data.encoded["train"][:count], made)


def test_loss_is_that_of_hugging_face(rows: str, backbone: str) -> None:
    data = chat(rows, backbone)
    module, batch = task(data).eval(), batch_of(data)
    plain = AutoModelForCausalLM.from_pretrained(backbone, dtype=torch.float32).eval()
    with torch.no_grad():
        losses = module.losses(module.logits(batch), batch)
        for i, length in enumerate(batch["attention_mask"].sum(1)):
            ids, labels = (batch[name][i : i + 1, :length] for name in ("input_ids", "labels"))
            expected = plain(input_ids=ids, labels=labels).loss * batch["loss_weights"][i]
            assert float(losses[i]) == pytest.approx(float(expected), rel=1e-5)


def test_packing_changes_neither_loss_nor_gradient(rows: str, backbone: str) -> None:
    found = []
    for packing in (False, True):
        data = chat(rows, backbone, packing=packing)
        module, batch = task(data).train(), batch_of(data, 12, epoch=0)
        assert (len(batch["input_ids"]) < 6) == packing
        loss = module.losses(module.logits(batch), batch).sum() / 12
        loss.backward()
        gradients = torch.cat([w.grad.flatten() for w in module.parameters() if w.grad is not None])
        found.append((float(loss.detach()), gradients))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-4)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-4, rtol=1e-3)


def test_packing_is_refused_where_examples_would_see_each_other(
    rows: str, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = chat(rows, backbone, packing=True)
    module, batch = task(data).train(), batch_of(data, 12, epoch=0)
    module.logits(batch)
    assert module.training
    assert all(part.training for part in module.modules())
    monkeypatch.setattr(CausalLM, "forward", TaskModule.forward)  # with a cache, transformers takes a block for one text
    with pytest.raises(UserError, match=r"lets the examples of a block see each other; set data\.packing: false"):
        task(data).logits(batch)


def test_replies_do_not_depend_on_their_batch(rows: str, backbone: str) -> None:
    data = chat(rows, backbone)
    module = task(data, generation=Generation(max_new_tokens=12)).eval()
    prompts = data.encoded["train"]["prompt_ids"][:6]
    assert len({len(ids) for ids in prompts}) > 1
    together = module.replies(prompts)
    assert together == [module.replies([ids])[0] for ids in prompts]
    plain = AutoModelForCausalLM.from_pretrained(backbone, dtype=torch.float32).eval()
    ids = torch.tensor([prompts[0]])
    for _ in range(12):  # by hand, without a cache
        with torch.no_grad():
            following = plain(input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, following], 1)
        if int(following) in (data.stop_id, 2):
            break
    new = ids[0, len(prompts[0]) :].tolist()
    assert together[0] == data.tokenizer.decode(new, skip_special_tokens=True).strip()


def test_replies_stop_at_the_closing_token(rows: str, llama: str) -> None:
    data = chat(rows, llama)
    module = task(data, generation=Generation(max_new_tokens=20)).eval()
    assert module.model.generation_config.eos_token_id == [2, SPECIAL.index("<|im_end|>")]
    head = module.model.lm_head.weight.data
    letter, stop = data.tokenizer("a", add_special_tokens=False)["input_ids"][0], data.stop_id
    head.zero_()
    prompt = torch.tensor([data.encoded["train"]["prompt_ids"][0]])
    last = module.model.model(input_ids=prompt).last_hidden_state[0, -1].detach()
    head[letter] = last  # after the prompt an "a", then what the next state is nearest to
    after = module.model.model(input_ids=torch.cat([prompt, torch.tensor([[letter]])], 1)).last_hidden_state[0, -1].detach()
    head[stop] = after - last * (after @ last) / (last @ last)
    head[stop] *= 10 * float((last @ after).abs() / (head[stop] @ after).clamp(min=1e-6)) + 10
    assert module.replies(prompt.tolist()) == ["a"]


def test_long_prompts_leave_room_for_the_reply(rows: str, backbone: str) -> None:
    data = chat(rows, backbone)
    module = task(data, generation=Generation(max_new_tokens=6)).eval()
    prompt = data.encoded["train"]["prompt_ids"][0] * 40
    assert module.replies([prompt]) == module.replies([prompt[-250:]])


def test_settings_that_cannot_be(rows: str, llama: str) -> None:
    data = chat(rows, llama)
    with pytest.raises(UserError, match=r"max_new_tokens is 256, but the model takes 256 tokens with the prompt"):
        task(data, generation=Generation(max_new_tokens=256))
    with pytest.raises(UserError, match=r"unknown text metric 'rogue'"):
        task(data, metrics=["rogue"])
    with pytest.raises(UserError, match=r"needs generated texts at every validation"):
        task(data, pattern="a", monitor="val/pattern_match", generate_every_n_epochs=2)
    with pytest.raises(UserError, match=r"model\.generate_limit must be at least 1, got 0"):
        task(data, generate_limit=0)
    with pytest.raises(UserError, match=r"model\.pattern '\(' is not a valid regular expression: missing \)"):
        task(data, pattern="(")
    with pytest.raises(UserError, match=r"class_weights weighs the labels of a list, and CausalLM has none"):
        task(data, loss=CrossEntropy(class_weights="balanced"))
    with pytest.raises(UserError, match=r"model\.loss BCE does not fit CausalLM; use CrossEntropy or Focal"):
        task(data, loss=BCE())
    with pytest.raises(UserError, match=r"compare replies, but raw text has none; use them with ChatData"):
        CausalLM(backbone=llama, pad_token_id=0, pattern="a")


def evaluation(module: CausalLM, command: str) -> None:
    """Let a module think that a trainer of one process runs it."""
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        **{"state": SimpleNamespace(fn=command), "current_epoch": 0, "world_size": 1, "sanity_checking": False},
        **{"is_global_zero": False, "precision_plugin": SimpleNamespace(forward_context=nullcontext)},
    )


@pytest.mark.parametrize(("command", "written", "scored"), [("fit", 4, 2), ("validate", 6, 6)])
def test_shown_replies_are_not_scored(command: str, written: int, scored: int, rows: str, llama: str) -> None:
    data = chat(rows, llama)
    module = task(data, metrics=["exact_match"], generate_limit=2, samples=4, generation=Generation(max_new_tokens=3)).eval()
    module._keep_samples = lambda generated: None  # type: ignore[method-assign]
    evaluation(module, command)
    calls: list[int] = []
    replies = module.replies
    module.replies = lambda prompts: calls.append(len(prompts)) or replies(prompts)  # type: ignore[func-returns-value, method-assign]
    for i in ([0, 3], [5, 1], [2, 4]):
        batch = data._collate((data.encoded["validation"][i], MicroBatch(i, 1.0)))
        with torch.no_grad():
            module.evaluators["val"].update(module, batch)
    assert calls == []
    found = module.evaluators["val"]
    found.gather(module)
    module.corpus_metrics(found)
    generated = generations(found)
    assert (list(generated), list(module.scored_generations(found))) == (list(range(written)), list(range(scored)))
    assert calls == [2] * (written // 2)
    prompts = data.encoded["validation"]["prompt_ids"]
    assert [reply["prediction"] for reply in generated.values()] == [replies([prompts[i]])[0] for i in range(written)]


def test_texts_are_written_in_full_batches() -> None:
    lengths, calls = (3, 9, 1, 4, 8, 2), []

    def texts(sources: list[dict[str, list[int]]]) -> list[str]:
        calls.append([len(source["input_ids"]) for source in sources])
        return [str(source["input_ids"][0]) for source in sources]

    queue, module = GenerationQueue(), SimpleNamespace()
    evaluation(module, "fit")  # type: ignore[arg-type]
    queue.observe({"input_ids": torch.zeros(3, 4)})
    queue.observe({"input_ids": torch.zeros(2, 9)})
    parts: list[dict[str, Any]] = [{"source": {"input_ids": [n] * n}} for n in lengths]
    queue.generate(module, parts, texts)  # type: ignore[arg-type]
    assert calls == [[8, 9], [2, 3, 4], [1]]
    assert parts == [{"prediction": str(n)} for n in lengths]


def test_a_pretrained_head_trains_with_the_whole_model_alone(rows: str, llama: str) -> None:
    data = chat(rows, llama)
    trains = {
        str(tuning): task(data, tuning=tuning).model.lm_head.weight.requires_grad
        for tuning in (Full(), TopLayers(1), LoRA(r=2))
    }
    assert list(trains.values()) == [True, True, False]
    with pytest.raises(UserError, match=r"leaves nothing to train: LlamaForCausalLM has no new head"):
        task(data, tuning=Frozen())


def test_a_model_that_sees_the_answer_is_refused(tiny: Any) -> None:
    with pytest.raises(UserError, match=r"sees the tokens that come after each, which CausalLM predicts"):
        CausalLM(backbone=tiny("bert"), pad_token_id=0)


def test_run(rows: str, llama: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    options = {f"data__{key}": value for key, value in KEYS.items()}
    args = arguments(
        "fit",
        "CausalLM",
        "ChatData",
        run_dir=run,
        evaluate_untrained="true",
        trainer__max_epochs=2,
        model__backbone=llama,
        model__optimizer="AdamW",
        model__optimizer__lr=0.003,
        model__tuning="LoRA",
        model__metrics="[exact_match]",
        model__pattern="[abc]+",
        model__generate_limit=5,
        model__samples=2,
        model__generation__max_new_tokens=8,
        data__dataset=rows,
        data__packing="true",
        **options,
    )
    ftlit(args)
    results = json.loads((run / "results.json").read_text())
    before, after = results["before"]["validation"], results["validation"]
    assert after["loss"] < before["loss"]
    assert after["perplexity"] == pytest.approx(math.exp(after["loss"]), rel=1e-4)
    assert {"accuracy", "bits_per_byte", "exact_match", "pattern_match"} <= after.keys()
    assert 0 < after["bits_per_byte_of_text"] < after["bits_per_byte"], "the end of a turn has no bytes"
    assert after["perplexity_of_text"] != after["perplexity"]
    report = json.loads((run / "validation_report.json").read_text())
    assert report["signatures"]["pattern_match"].startswith("pattern:[abc]+|prediction:first match|reference:last match")
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["id"]) for row in samples] == [(e, f"validation:{i}") for e in (0, 1) for i in (0, 1)]
    predictions = [json.loads(line) for line in (run / "predictions" / "validation.jsonl").read_text().splitlines()]
    assert all(isinstance(row["prediction"], str) for row in predictions)  # the limit is for validations during training
    assert predictions[0]["label"] == ROWS["validation"][0]["answer"]
    mean = sum(row["nll"] * row["targets"] for row in predictions) / sum(row["targets"] for row in predictions)
    assert mean == pytest.approx(after["loss"], rel=1e-5)

    predictor = package.load(run, device="cpu")
    asked = [row["question"] for row in ROWS["validation"][:5]]
    replies = [found["prediction"] for found in predictor(asked, batch_size=2)]
    assert replies == [row["prediction"] for row in predictions[:5]]
    assert replies == [found["prediction"] for found in predictor(ROWS["validation"][:5])]
    with pytest.raises(UserError, match=r"row 1: the text in column 'question' is empty"):
        predictor([" "])

    read: list[str] = []

    class Keyboard(io.BytesIO):
        def __next__(self) -> bytes:
            read.append((line := super().__next__()).decode())
            return line

    from ftlit.exports import predict

    monkeypatch.setattr(predict.sys, "stdin", io.TextIOWrapper(Keyboard("\n".join([*asked[:3], ""]).encode())))
    monkeypatch.setattr(predict, "line", lambda row: read.append(row["prediction"]) or "")
    predict.predict(str(run), "-", device="cpu")
    assert read == [entry for question, reply in zip(asked[:3], replies, strict=False) for entry in (f"{question}\n", reply)]


def test_labels_of_the_next_token(rows: str, llama: str) -> None:
    module = task(chat(rows, llama))
    labels = torch.tensor([[IGNORED, IGNORED, 5, 6]])
    assert module.targets(labels).tolist() == [[IGNORED, 5, 6, IGNORED]]


@pytest.mark.parametrize("isolate", [True, False])
def test_the_end_of_a_text_is_not_its_text(rows: str, backbone: str, isolate: bool) -> None:
    """Bits per byte of the tokens that have bytes, against a plain sum over them."""
    data = CorpusData(
        dataset=rows, backbone=backbone, text="question", objective="causal", max_length=64, isolate_documents=isolate
    )
    data.setup()
    module = CausalLM(backbone=backbone, pad_token_id=data.pad_token_id).eval()
    batch = data.collate(data.encoded["train"][:4], MicroBatch([0, 1, 2, 3], 1.0))
    with torch.no_grad():
        means = module.evaluate_batch(batch).means
        logits = module(batch).logits
    nll = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="none")
    targets = batch["labels"][:, 1:].flatten()
    ends, text = targets == data.eos_token_id, ~torch.isin(targets, torch.tensor([IGNORED, *data.special_ids]))
    assert ends.any()
    total, count = means["text_nll"]
    assert (float(total.sum()), float(count.sum())) == pytest.approx((float(nll[text].sum()), float(text.sum())), rel=1e-4)
    assert float(means["nll"][0].sum()) == pytest.approx(float(nll[text].sum() + nll[ends].sum()), rel=1e-4)
    assert means["nll_per_byte"][1].tolist() == batch["bytes"].tolist()


def test_raw_text(rows: str, backbone: str) -> None:
    data = CorpusData(dataset=rows, backbone=backbone, text="question", objective="causal", max_length=64)
    data.setup()
    module = CausalLM(backbone=backbone, pad_token_id=data.pad_token_id, generation=Generation(max_new_tokens=4)).eval()
    columns = data.encoded["train"][:4]
    batch = data.collate(columns, MicroBatch([0, 1, 2, 3], 1.0))
    plain = AutoModelForCausalLM.from_pretrained(backbone, dtype=torch.float32).eval()
    with torch.no_grad():
        losses = module.losses(module.logits(batch), batch)
        for i, (ids, positions) in enumerate(zip(columns["input_ids"], columns["position_ids"], strict=True)):
            starts = [j for j, place in enumerate(positions) if place == 0]
            parts = [torch.tensor([ids[start:end]]) for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)]
            each = [float(plain(input_ids=part, labels=part).loss) * (part.shape[1] - 1) for part in parts if part.shape[1] > 1]
            assert float(losses[i]) == pytest.approx(sum(each), rel=1e-4)
    asked = data.collate(data.encode_inputs({"question": ["Say a", "Say bbb"]}))
    replies = [found["prediction"] for found in module.predict_batch(asked)]
    assert replies == module.replies([data.tokenizer(text)["input_ids"] for text in ("Say a", "Say bbb")])

"""Tokens that the config adds to a language model: they are read and written, and train with every tuning method."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import ftlit as package
from ftlit.__main__ import main
from ftlit.data import ChatData
from ftlit.data.batches.batching import MicroBatch
from ftlit.data.rows.subsets import subsample
from ftlit.errors import UserError
from ftlit.models.generation import Generation
from ftlit.runs.checkpoint import find_checkpoint, load_task
from ftlit.tasks import CausalLM
from ftlit.tuning import Full, Tuning
from tests.support.chats import chat_model
from tests.support.data import write_splits
from tests.support.runs import fitted
from tests.support.speeds import some_by_default
from tests.support.tuning.methods import METHODS

TOKENS = ["<call>", "</call>"]
KEYS = {"prompt": "q", "response": "a", "template": "chatml", "max_length": 64, "add_tokens": TOKENS}
ROWS = [{"q": f"Call {i % 4}", "a": f"<call>{i % 4}</call>"} for i in range(24)]
FIT = [name for name in METHODS if name not in ("HeadFirst", "QLoRA")]  # the head is pretrained; 4 bits need another package


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose output is not tied to its embeddings, and one whose is."""
    return chat_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_splits(tmp_path_factory.mktemp("calls"), {"train": ROWS, "validation": ROWS[:8]})


def made(rows: str, backbone: str, tuning: Tuning = Full(), keep: bool = False, **options: Any) -> tuple[ChatData, CausalLM]:
    data = ChatData(**{"dataset": rows, "backbone": backbone, "keep_special_tokens": keep, **KEYS, **options})
    data.setup()
    task = CausalLM(backbone=backbone, tuning=tuning, keep_special_tokens=keep, **data.task_arguments())
    return data, task


def test_new_tokens_have_rows_of_their_own(rows: str, backbone: str) -> None:
    data, task = made(rows, backbone)
    plain = CausalLM(backbone=backbone, pad_token_id=0, stop_id=data.stop_id).eval()
    first = len(data.tokenizer) - 2
    assert list(task.added_tokens) == [first, first + 1] == data.tokenizer.convert_tokens_to_ids(TOKENS)
    known = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        logits, before = task.eval()({"input_ids": known}).logits, plain({"input_ids": known}).logits
    kept = [i for i in range(before.shape[-1]) if i not in task.added_tokens]
    assert torch.equal(logits[..., kept], before[..., kept]), "what was known is as before"
    assert not torch.equal(logits[..., first], logits[..., first + 1])
    batch = data.collate(data.encoded["train"][:4], MicroBatch([0, 1, 2, 3], 1.0))
    task.train().losses(task.logits(batch), batch).sum().backward()
    table, head = task.model.get_input_embeddings(), task.model.get_output_embeddings()
    assert head.tied == (table.extra is head.extra) == (table.weight is head.weight) == task.model.config.tie_word_embeddings
    for extra in (table.extra, head.extra):
        assert (extra.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize(
    "method", some_by_default(FIT, [FIT.index(name) for name in ("Frozen", "LoRA", "IA3", "PrefixTuning")])
)
def test_they_train_with_every_method(rows: str, backbone: str, method: str) -> None:
    try:
        _, task = made(rows, backbone, METHODS[method].tuning)
    except UserError as error:
        pytest.skip(str(error))
    trains = {id(weight) for group in task.param_groups() for weight in group["params"]}
    table, head = task.model.get_input_embeddings(), task.model.get_output_embeddings()
    assert {id(table.extra), id(head.extra)} <= trains
    assert table.extra.requires_grad
    assert head.extra.requires_grad


def test_tokens_that_the_tokenizer_has_need_no_rows(rows: str, backbone: str) -> None:
    _, task = made(rows, backbone, add_tokens=["</s>"])
    assert list(task.added_tokens) == []
    assert not hasattr(task.model.get_output_embeddings(), "extra")


def learn(data: ChatData, task: CausalLM) -> None:
    """A short training in which the task learns to call."""
    optimizer = torch.optim.AdamW(task.parameters(), lr=0.003)
    for step in range(160):
        chosen = subsample(len(data.encoded["train"]), 8, step)
        batch = data.collate(data.encoded["train"][chosen], MicroBatch(chosen, 1.0))
        optimizer.zero_grad()
        (task.losses(task.logits(batch), batch).sum() / batch["loss_weights"].sum()).backward()
        optimizer.step()


@pytest.mark.parametrize("backbone", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)], indirect=True)
def test_replies_of_special_tokens_are_compared_as_they_are_written(rows: str, backbone: str) -> None:
    data, task = made(rows, backbone)
    learn(data, task.train())
    task.eval().generation = Generation(max_new_tokens=8)
    for keep in (False, True):
        task.keep_special_tokens = data.keep_special_tokens = keep
        data.encoded.clear()
        data.setup()
        prompts, references = (data.encoded["validation"][name][:4] for name in ("prompt_ids", "reference"))
        assert references == [f"<call>{i}</call>" if keep else str(i) for i in range(4)]
        assert task.replies(prompts) == references


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("backbone", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.slow
def test_a_run_and_its_exports_write_the_same(rows: str, backbone: str, tmp_path: Path) -> None:
    given = {
        "data": "ChatData",
        "data__dataset": rows,
        "model__backbone": backbone,
        "model__tuning": "LoRA",
        "model__samples": 1,
    }
    options = {f"data__{key}": value for key, value in KEYS.items()} | {"data__add_tokens": json.dumps(TOKENS)}
    scores = {"model__metrics": "[exact_match]", "model__keep_special_tokens": "true", "trainer__max_epochs": 2}
    run = fitted(tmp_path / "run", "CausalLM", model__generation__max_new_tokens=8, **given, **options, **scores)
    lines = (run / "predictions" / "validation.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["label"] for line in lines] == [row["a"] for row in ROWS[:8]]
    asked = [row["q"] for row in ROWS[:8]]
    expected = [json.loads(line)["prediction"] for line in lines]
    extra = load_task(find_checkpoint(run)).model.get_output_embeddings().extra
    for name, flags in (("merged", []), ("adapter", ["--adapter-only"])):
        main(["export", "--run", str(run), "--output", str(tmp_path / name), *flags])
        for place in (run, tmp_path / name):
            assert [row["prediction"] for row in package.load(place, device="cpu")(asked)] == expected
    model, tokenizer = (kind.from_pretrained(tmp_path / "merged") for kind in (AutoModelForCausalLM, AutoTokenizer))
    ids = tokenizer.convert_tokens_to_ids(TOKENS)
    assert torch.equal(model.get_output_embeddings().weight[ids], extra)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings >= ids[-1] + 1
    again = CausalLM(backbone=backbone, init_from=str(run), pad_token_id=0, add_tokens=TOKENS)
    assert torch.equal(again.model.get_output_embeddings().extra, extra), "a later run begins with them"

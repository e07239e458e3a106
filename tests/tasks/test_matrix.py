"""Every task on every architecture with every kind of tuning: a step of training, a checkpoint, and the same predictions again.

Gaps, each with its reason, are in `GAPS` and `UNTUNABLE`; what is refused there is refused with a sentence.
"""

import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftlit.data import (
    CorpusData,
    MultipleChoiceData,
    QuestionAnsweringData,
    RelationExtractionData,
    Seq2SeqData,
    TaskData,
    TextClassificationData,
    TextRegressionData,
    TokenClassificationData,
)
from ftlit.data.batching import MicroBatch
from ftlit.errors import UserError
from ftlit.predict import Predictor
from ftlit.tasks import (
    CausalLM,
    MaskedLM,
    MultipleChoice,
    QuestionAnswering,
    RelationExtraction,
    Seq2Seq,
    TaskModule,
    TextClassification,
    TextRegression,
    TokenClassification,
)
from ftlit.tuning import Frozen, Full, LoRA, Tuning
from tests.conftest import GOOD, NEUTRAL, sentiment_rows, write_splits
from tests.questions import question_rows
from tests.small import saved

METHODS: dict[str, Tuning] = {"Full": Full(), "Frozen": Frozen(), "LoRA": LoRA(r=2)}
ENCODERS = ("bert", "roberta", "distilbert", "deberta-v2", "modernbert")
ARCHITECTURES = (*ENCODERS, "llama", "t5")
LINKED = (
    "label_names",
    "label_counts",
    "label_scale",
    "pad_token_id",
    "added_tokens",
    "no_answer",
    "max_target_length",
    "stop_id",
)


@dataclass(frozen=True)
class Case:
    """A task with its data; `rows` makes those of one split."""

    model: type[TaskModule]
    data: type[TaskData]
    rows: Callable[[int, int], list[dict[str, Any]]]
    options: dict[str, Any] = field(default_factory=dict)


def tagged(count: int, seed: int) -> list[dict[str, Any]]:
    return [
        {"tokens": (words := row["text"].split()), "tags": ["B-WORD" if word in GOOD else "O" for word in words]}
        for row in sentiment_rows(count, seed)
    ]


def related(count: int, seed: int) -> list[dict[str, Any]]:
    names = ("Cause-Effect(e1,e2)", "Other")
    ends = {"head": {"start": 0, "end": 5}, "tail": {"start": 6, "end": 11}}
    return [{"text": f"word{i % 9} word{seed} word8", **ends, "relation": names[i % 2]} for i in range(count)]


def choices(count: int, seed: int) -> list[dict[str, Any]]:
    return [
        {"question": "word1", "choices": [NEUTRAL[i % 9], "good", "bad"][: 2 + i % 2], "label": i % 2} for i in range(count)
    ]


def scored(count: int, seed: int) -> list[dict[str, Any]]:
    return [{"text": row["text"], "label": float(i % 5)} for i, row in enumerate(sentiment_rows(count, seed))]


def reversed_texts(count: int, seed: int) -> list[dict[str, Any]]:
    return [{"source": r["text"], "target": " ".join(reversed(r["text"].split()))} for r in sentiment_rows(count, seed)]


def corpus(count: int, seed: int) -> list[dict[str, Any]]:
    return [{"text": row["text"]} for row in sentiment_rows(count, seed)]


CASES: dict[str, Case] = {
    "TextClassification": Case(TextClassification, TextClassificationData, sentiment_rows),
    "TextRegression": Case(TextRegression, TextRegressionData, scored),
    "TokenClassification": Case(TokenClassification, TokenClassificationData, tagged),
    "RelationExtraction": Case(RelationExtraction, RelationExtractionData, related),
    "QuestionAnswering": Case(QuestionAnswering, QuestionAnsweringData, question_rows, {"max_length": 24, "stride": 4}),
    "MultipleChoice": Case(MultipleChoice, MultipleChoiceData, choices),
    "Seq2Seq": Case(Seq2Seq, Seq2SeqData, reversed_texts, {"max_length": 30, "max_target_length": 30}),
    "CausalLM": Case(CausalLM, CorpusData, corpus, {"max_length": 16, "objective": "causal"}),
    "MaskedLM": Case(MaskedLM, CorpusData, corpus, {"max_length": 16, "objective": "masked"}),
}

GAPS: dict[tuple[str, str], str] = {
    **{("Seq2Seq", name): "it has no decoder of its own (two encoders can be joined: model.decoder)" for name in ENCODERS},
    ("Seq2Seq", "llama"): "it has no encoder",
    **{("CausalLM", name): "it sees what comes after a token" for name in ENCODERS},
    ("CausalLM", "t5"): "it is an encoder and a decoder: Seq2Seq",
    ("MaskedLM", "llama"): "it sees only what comes before a token",
    ("MaskedLM", "t5"): "it fills gaps by writing: Seq2Seq",
    ("RelationExtraction", "t5"): "its hidden states are the decoder's, which reads no entity markers",
}
UNTUNABLE: dict[tuple[str, str, str], str] = {
    ("Seq2Seq", "t5", "Frozen"): "leaves nothing to train",
    ("CausalLM", "llama", "Frozen"): "leaves nothing to train",
}
PAIRS = [(task, name) for task in CASES for name in ARCHITECTURES if (task, name) not in GAPS]
TRIPLES = [(*pair, method) for pair in PAIRS for method in METHODS]


@pytest.fixture(scope="module")
def backbone(
    tiny: Callable[[str], str], tiny_seq2seq: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """Folder of a tiny model whose tokenizer has a mask token."""

    @cache
    def make(architecture: str) -> str:
        folder = tmp_path_factory.mktemp("masking") / architecture
        shutil.copytree(tiny_seq2seq("t5") if architecture == "t5" else tiny(architecture), folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.mask_token = "word75"
        tokenizer.save_pretrained(folder)
        if architecture == "llama":  # as decoders come: with the head of their pre-training
            AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture(scope="module")
def data_of(backbone: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], TaskData]:
    """The encoded data of a task for an architecture."""

    @cache
    def rows_of(task: str) -> str:
        return write_splits(
            tmp_path_factory.mktemp(task), {s: CASES[task].rows(12, i) for i, s in enumerate(("train", "test"))}
        )

    @cache
    def make(task: str, architecture: str) -> TaskData:
        given = CASES[task]
        data = given.data(dataset=rows_of(task), backbone=backbone(architecture), **given.options)
        data.setup()
        return data

    return make


def build(task: str, data: TaskData, method: str, seed: int) -> TaskModule:
    """The task with fresh weights of a seed, and what it takes from its data."""
    known = {name for kind in inspect.getmro(CASES[task].model) for name in inspect.signature(kind).parameters}
    linked = {name: getattr(data, name) for name in LINKED if name in known and hasattr(data, name)}
    torch.manual_seed(seed)
    return CASES[task].model(backbone=data.backbone, tuning=METHODS[method], **linked)


def step(module: TaskModule, data: TaskData) -> set[str]:
    """Names of the weights that a step of training moved."""
    indices = list(range(len(data.encoded["train"])))[:4]
    batch = data._collate((data.encoded["train"][indices], MicroBatch(indices, 4.0, 0)))
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    loss = module.train().training_step(batch, 0)
    loss.backward()
    assert torch.isfinite(loss)
    torch.optim.SGD(trained, lr=1.0).step()
    return {name for name, weight in module.named_parameters() if not torch.equal(weight, before[name])}


def said(module: TaskModule, data: TaskData) -> Any:
    """Predictions of new rows; of masked language models, which answer nothing, the logits of a batch."""
    if isinstance(module, MaskedLM):
        with torch.no_grad():
            return module.eval().logits(data._collate((data.encoded["test"][[0, 1]], MicroBatch([0, 1], 1.0)))).tolist()
    columns = list(data.input_columns().values())
    return Predictor(module, data, "cpu")(
        [{column: row[column] for column in columns} for row in data.rows["test"]], scores=True
    )


@pytest.mark.parametrize(("task", "architecture", "method"), TRIPLES)
def test_trains_and_comes_back(task: str, architecture: str, method: str, data_of: Callable[[str, str], TaskData]) -> None:
    data = data_of(task, architecture)
    if (task, architecture, method) in UNTUNABLE:
        with pytest.raises(UserError, match=UNTUNABLE[task, architecture, method]):
            build(task, data, method, 0)
        return
    module, again = build(task, data, method, 0), build(task, data, method, 1)
    moved = step(module, data)
    assert moved
    assert moved <= {name for name, weight in module.named_parameters() if weight.requires_grad}
    checkpoint = saved(module)
    assert moved <= checkpoint["state_dict"].keys()
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    assert json.dumps(said(again, data)) == json.dumps(said(module, data))


@pytest.mark.parametrize(("task", "architecture"), GAPS)
def test_gaps_are_refused_with_a_sentence(task: str, architecture: str, backbone: Callable[[str], str]) -> None:
    given = {"label_names": ["a", "b"]} if task == "RelationExtraction" else {}
    with pytest.raises(
        UserError, match=r"has no head for|has no decoder|sees the tokens that come after|an encoder and a decoder"
    ):
        CASES[task].model(backbone=backbone(architecture), pad_token_id=0, **given)


def test_every_task_is_here() -> None:
    import ftlit.tasks

    tasks = {name for name in ftlit.tasks.__all__ if name != "TaskModule"}
    assert tasks == set(CASES)
    assert {task for task, _ in GAPS} <= tasks

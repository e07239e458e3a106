"""Every task on every architecture with every tuning method: what moves, a checkpoint, and the same predictions again.

Gaps, each with its reason, are in `GAPS` and `UNTUNABLE`, and in `tests/support/tuning/methods.py` where a method does not fit
an architecture whatever the task; what is refused there is refused with a sentence.
"""

import json
import re
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
from ftlit.data.batches.batching import MicroBatch
from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import Predictor
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
from tests.support.data import GOOD, NEUTRAL, sentiment_rows, write_splits
from tests.support.questions import question_rows
from tests.support.tuning.life import check_comes_back, fit, moved, values
from tests.support.tuning.methods import GAPS as MISFITS
from tests.support.tuning.methods import METHODS, Gap, sampled

ENCODERS = ("bert", "roberta", "distilbert", "deberta-v2", "modernbert")
ARCHITECTURES = (*ENCODERS, "llama", "t5")


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
NO_NEW_HEAD = Gap(
    "its head is the pretrained one of a language model, so that nothing trains, or nothing at first",
    r"leaves nothing to train: \w+ has no new head, since its language model head is pretrained too",
)
UNTUNABLE: dict[tuple[str, str, str], Gap] = {
    **{("Seq2Seq", "t5", method): NO_NEW_HEAD for method in ("Frozen", "HeadFirst", "HeadFirst-LoRA")},
    **{("CausalLM", "llama", method): NO_NEW_HEAD for method in ("Frozen", "HeadFirst-LoRA")},
}
HEAD_TOO = ("Full", "Full-embeddings", "TopLayers", "GradualUnfreezing", "HeadFirst")  # train a head that is pretrained
EVERY_METHOD = ("bert", "llama", "t5")  # architectures on which all methods are tried
FEW = ("Full", "Frozen", "LoRA")  # those that are tried on the others
PAIRS = [(task, name) for task in CASES for name in ARCHITECTURES if (task, name) not in GAPS]
TRIPLES = [
    (*pair, method)
    for pair in PAIRS
    for method in METHODS
    if (method in FEW or pair[1] in EVERY_METHOD) and (method, pair[1]) not in MISFITS and (*pair, method) not in UNTUNABLE
]
ALWAYS = re.compile(r"\.extra$|qa_outputs")  # embeddings of new tokens; T5's new head, which is beside its stacks
SHARE = 80  # one case in so many runs by default, beside those of DEFAULT
DEFAULT = (("Full", "bert"), ("LoRA", "bert"), ("LoRA", "llama"), ("Full", "t5"))


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
def data_of(backbone: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TaskData]:
    """The encoded data of a task for an architecture, with room for a prompt, which packs no texts together."""

    @cache
    def rows_of(task: str) -> str:
        return write_splits(
            tmp_path_factory.mktemp(task), {s: CASES[task].rows(12, i) for i, s in enumerate(("train", "test"))}
        )

    @cache
    def make(task: str, architecture: str, positions: int = 0) -> TaskData:
        given = CASES[task]
        alone = {"isolate_documents": False} if task == "CausalLM" and positions else {}
        options = {**given.options, **alone, "reserved_positions": positions}
        data = given.data(dataset=rows_of(task), backbone=backbone(architecture), **options)
        data.setup()
        return data

    return make


def build(task: str, data: TaskData, method: str, seed: int) -> TaskModule:
    """The task with fresh weights of a seed, and what it takes from its data."""
    adam = {"optimizer": lambda params: torch.optim.Adam(params, lr=1e-2), "schedule": "constant", "warmup_ratio": 0.0}
    torch.manual_seed(seed)
    return CASES[task].model(backbone=data.backbone, tuning=METHODS[method].tuning, **data.task_arguments(), **adam)


def intended(task: str, module: TaskModule, method: str) -> set[str]:
    """Names of the weights that must move: those of the method, new heads, and embeddings of new tokens."""
    model = module.model
    prefix = f"model.{model.base_model_prefix}." if hasattr(model, model.base_model_prefix) else "model."
    new = task != "CausalLM" or method in HEAD_TOO  # here the files of encoders lack the head of a masked language model
    inside = [name.removeprefix(prefix) for name, _ in module.named_parameters() if name.startswith(prefix)]
    moves = {prefix + name for name in inside if METHODS[method].moves(name) or ALWAYS.search(name)}
    return moves | {name for name, _ in module.named_parameters() if new and not name.startswith(prefix)}


def batches(data: TaskData) -> list[dict[str, Any]]:
    """Three batches of train."""
    count = len(data.encoded["train"])
    steps = [[i % count for i in range(first, first + 4)] for first in (0, 4, 8)]
    return [data._collate((data.encoded["train"][step], MicroBatch(step, 4.0, 0))) for step in steps]


def said(module: TaskModule, data: TaskData) -> str:
    """Predictions of new rows; of masked language models, which answer nothing, the logits of a batch."""
    if isinstance(module, MaskedLM):
        with torch.no_grad():
            batch = data._collate((data.encoded["test"][[0, 1]], MicroBatch([0, 1], 1.0)))
            return json.dumps(module.eval().logits(batch).tolist())
    columns = list(data.input_columns().values())
    rows = [{column: row[column] for column in columns} for row in data.rows["test"]]
    return json.dumps(Predictor(module, data, "cpu")(rows, scores=True))


@pytest.mark.parametrize(
    ("task", "architecture", "method"),
    sampled(TRIPLES, SHARE, lambda task, architecture, method: (method, architecture) in DEFAULT),
)
def test_trains_and_comes_back(task: str, architecture: str, method: str, data_of: Callable[..., TaskData]) -> None:
    data = data_of(task, architecture, METHODS[method].tuning.positions)
    module, again = build(task, data, method, 0), build(task, data, method, 1)
    before, expected = values(module), intended(task, module, method)
    fit(module, batches(data))
    assert moved(before, module) == expected
    check_comes_back(module, again, expected, lambda found: said(found, data))


@pytest.mark.parametrize(("task", "architecture", "method"), UNTUNABLE)
def test_methods_that_do_not_fit_a_task(task: str, architecture: str, method: str, data_of: Callable[..., TaskData]) -> None:
    with pytest.raises(UserError, match=UNTUNABLE[task, architecture, method].says):
        build(task, data_of(task, architecture), method, 0)


@pytest.mark.parametrize(("task", "architecture"), GAPS)
def test_gaps_are_refused_with_a_sentence(task: str, architecture: str, backbone: Callable[[str], str]) -> None:
    given = {"label_names": ["a", "b"]} if task == "RelationExtraction" else {}
    with pytest.raises(
        UserError, match=r"has no head for|has no decoder|sees the tokens that come after|an encoder(-| and a )decoder"
    ):
        CASES[task].model(backbone=backbone(architecture), pad_token_id=0, **given)


def test_every_task_is_here() -> None:
    import ftlit.tasks

    kinds = [getattr(ftlit.tasks, name) for name in ftlit.tasks.__all__]
    tasks = {kind.__name__ for kind in kinds if issubclass(kind, TaskModule) and "shared" not in kind.__module__}
    assert tasks == set(CASES)
    assert {task for task, _ in GAPS} <= tasks

"""A small run of every task and head, for what is done with finished runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.support.chats import chat_model, echoes
from tests.support.data import sentiment_splits, write_splits
from tests.support.questions import question_splits
from tests.support.runs import fitted
from tests.support.tagged import letters_model, tagged_splits

Tiny = Callable[[str], str]
Case = tuple[str, dict[str, Any], str]
LORA = {"model__tuning": "LoRA", "model__tuning__r": 2}
# Task, options, and the class of transformers that opens the merged folder. `data` is the fixture of its data set.
CASES: list[Case] = [
    ("TextClassification", {"data": "sentiment"}, "AutoModelForSequenceClassification"),
    ("TextClassification", {"data": "sentiment", "head": "PooledHead"}, "AutoModelForSequenceClassification"),
    ("TextClassification", {"data": "emotions", "multi_label": "true"}, "AutoModelForSequenceClassification"),
    ("TextRegression", {"data": "grades"}, "AutoModelForSequenceClassification"),
    ("RelationExtraction", {"data": "relations", "head": "EntityHead"}, "AutoModelForSequenceClassification"),
    ("RelationExtraction", {"data": "relations", "head": "PooledHead"}, "AutoModelForSequenceClassification"),
    ("MultipleChoice", {"data": "questions"}, "AutoModelForMultipleChoice"),
    ("MultipleChoice", {"data": "questions", "head": "PooledHead"}, "AutoModelForMultipleChoice"),
    ("TokenClassification", {"data": "tags"}, "AutoModelForTokenClassification"),
    ("QuestionAnswering", {"data": "answers"}, "AutoModelForQuestionAnswering"),
    ("MaskedLM", {"data": "corpus"}, "AutoModelForMaskedLM"),
    ("CausalLM", {"data": "corpus"}, "AutoModelForCausalLM"),
    ("CausalLM", {"data": "chats"}, "AutoModelForCausalLM"),
    ("Seq2Seq", {"data": "reversals"}, "AutoModelForSeq2SeqLM"),
]


def options_of(kind: str, tiny: Tiny, tiny_seq2seq: Tiny, root: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Backbone and data of a case."""
    if kind == "tags":
        data = write_splits(root / "data", tagged_splits())
        return {"model__backbone": letters_model(tiny("bert"), root / "letters"), "data__dataset": data}
    if kind == "answers":
        return {"model__backbone": tiny("bert"), "data__dataset": question_splits(root / "data", 0.4), "data__stride": 16}
    if kind == "chats":
        rows = {split: echoes(count, i) for i, (split, count) in enumerate({"train": 24, "validation": 9}.items())}
        data = {"dataset": write_splits(root / "data", rows), "prompt": "question", "response": "answer", "template": "chatml"}
        given = {f"data__{key}": value for key, value in data.items()}
        return {"model__backbone": chat_model(root / "llama"), "data": "ChatData", "model__samples": 0, **given}
    if kind == "corpus":
        return {"data__dataset": write_splits(root / "data", sentiment_splits()), "data": "CorpusData"}
    columns = {
        "emotions": {"data__label": "labels"},
        "grades": {"data__label": "score", "data__text_pair": "other"},
    }.get(kind, {})
    backbone = tiny_seq2seq("t5") if kind == "reversals" else tiny("bert")
    return {"model__backbone": backbone, "data__dataset": request.getfixturevalue(kind), **columns}


def backbone_of(task: str, tiny: Tiny, root: Path) -> dict[str, Any]:
    """A backbone for a language model on raw text."""
    if task == "CausalLM":
        return {"model__backbone": tiny("gpt2"), "model__samples": 0}
    folder = root / "masked"
    transformers.AutoModelForMaskedLM.from_pretrained(tiny("bert")).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny("bert"))
    tokenizer.add_special_tokens({"mask_token": "word75"})
    tokenizer.save_pretrained(folder)
    return {"model__backbone": str(folder)}


def run_of(case: Case, root: Path, tiny: Tiny, tiny_seq2seq: Tiny, request: pytest.FixtureRequest, **others: Any) -> Path:
    """Train a case for four steps.

    Args:
        case: One of `CASES`.
        root: Folder for the run and its data.
        tiny: The fixture.
        tiny_seq2seq: The fixture.
        request: Gives the fixture of the case's data set.
        **others: Further options.
    """
    task, given, _ = case
    options = options_of(given["data"], tiny, tiny_seq2seq, root, request)
    options |= backbone_of(task, tiny, root) if given["data"] == "corpus" else {}
    options |= {f"model__{key}": value for key, value in given.items() if key != "data"}
    return fitted(root / "run", task, **{"trainer__max_steps": 4, "data__limit_train": 24, **others, **options})

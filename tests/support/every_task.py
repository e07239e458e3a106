"""A small run of every task and head, for what is done with finished runs."""

from pathlib import Path
from typing import Any

import transformers

from tests.support.chats import chat_model, echoes
from tests.support.data import (
    choice_splits,
    emotion_splits,
    grade_splits,
    relation_splits,
    reversal_splits,
    sentiment_splits,
    write_splits,
)
from tests.support.models import tiny_model, tiny_seq2seq_model, tiny_tokenizer
from tests.support.questions import question_splits
from tests.support.runs import fitted
from tests.support.tagged import letters_model, tagged_splits

Case = tuple[str, dict[str, Any], str]
LORA = {"model__tuning": "LoRA", "model__tuning__r": 2}
# Task, options, and the class of transformers that opens the merged folder. `data` is the name of its data in `SPLITS`.
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


SPLITS = {
    "sentiment": sentiment_splits,
    "emotions": emotion_splits,
    "grades": grade_splits,
    "relations": relation_splits,
    "questions": choice_splits,
    "reversals": reversal_splits,
    "corpus": sentiment_splits,
    "tags": tagged_splits,
}
COLUMNS: dict[str, dict[str, Any]] = {
    "emotions": {"data__label": "labels"},
    "grades": {"data__label": "score", "data__text_pair": "other"},
    "corpus": {"data": "CorpusData"},
}


def options_of(task: str, kind: str, root: Path) -> dict[str, Any]:
    """Make the backbone and the data of a case, and return the options that name them."""
    if kind == "answers":
        return {"model__backbone": _bert(root), "data__dataset": question_splits(root / "data", 0.4), "data__stride": 16}
    if kind == "chats":
        rows = {split: echoes(count, i) for i, (split, count) in enumerate({"train": 24, "validation": 9}.items())}
        data = {"dataset": write_splits(root / "data", rows), "prompt": "question", "response": "answer", "template": "chatml"}
        given = {f"data__{key}": value for key, value in data.items()}
        return {"model__backbone": chat_model(root / "llama"), "data": "ChatData", "model__samples": 0, **given}
    data = {"data__dataset": write_splits(root / "data", SPLITS[kind]()), **COLUMNS.get(kind, {})}
    return {**_backbone(task, root), **data}


def _backbone(task: str, root: Path) -> dict[str, Any]:
    if task == "CausalLM":
        return {"model__backbone": tiny_model(root / "gpt2", "gpt2"), "model__samples": 0}
    if task == "Seq2Seq":
        return {"model__backbone": tiny_seq2seq_model(root / "t5", "t5")}
    if task == "TokenClassification":
        return {"model__backbone": letters_model(_bert(root), root / "letters")}
    return {"model__backbone": _with_mask(root) if task == "MaskedLM" else _bert(root)}


def _bert(root: Path) -> str:
    return tiny_model(root / "bert")


def _with_mask(root: Path) -> str:
    """A backbone with a mask token and the head that predicts it."""
    folder = root / "masked"
    transformers.AutoModelForMaskedLM.from_pretrained(_bert(root)).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "word75"})
    tokenizer.save_pretrained(folder)
    return str(folder)


def run_of(case: Case, root: Path, **others: Any) -> Path:
    """Train a case for four steps.

    Args:
        case: One of `CASES`.
        root: Folder for the run, its backbone and its data.
        **others: Further options.
    """
    task, given, _ = case
    own = {f"model__{key}": value for key, value in given.items() if key != "data"}
    steps = {"trainer__max_steps": 4, "data__limit_train": 24}
    return fitted(root / "run", task, **{**steps, **others, **options_of(task, given["data"], root), **own})

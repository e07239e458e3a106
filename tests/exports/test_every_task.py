"""The export of each task and head, opened by transformers and peft in a new process, and by pipelines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import AutoModel, pipeline

import ftlit
from ftlit.__main__ import main
from tests.support.chats import chat_model, echoes
from tests.support.data import sentiment_rows, sentiment_splits, write_splits
from tests.support.questions import question_splits
from tests.support.runs import fitted
from tests.support.speeds import some_by_default
from tests.support.tagged import letters_model, tagged_splits

Tiny = Callable[[str], str]
TEXTS = [row["text"] for row in sentiment_rows(8, 7)]
LORA = {"model__tuning": "LoRA", "model__tuning__r": 2}
# Task, options, and the class of transformers that opens the merged folder. `data` is the fixture of its data set.
CASES: list[tuple[str, dict[str, Any], str]] = [
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


@pytest.mark.parametrize(
    ("case", "adapter"),
    some_by_default([(case, adapter) for case in CASES for adapter in (False, True)], chosen=[6]),
    ids=str,
)
@pytest.mark.slow
def test_a_new_process_opens_it(
    case: tuple[str, dict[str, Any], str], adapter: bool, tiny: Tiny, tiny_seq2seq: Tiny, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """The command compares the folder with the run in a new process, and writes none that differs."""
    task, given, kind = case
    options = options_of(given["data"], tiny, tiny_seq2seq, tmp_path, request)
    options |= backbone_of(task, tiny, tmp_path) if given["data"] == "corpus" else {}
    options |= {f"model__{key}": value for key, value in given.items() if key != "data"}
    run = fitted(tmp_path / "run", task, **{**LORA, "trainer__max_steps": 4, "data__limit_train": 24, **options})
    folder = tmp_path / "out"
    main(["export", "--run", str(run), "--output", str(folder), *(["--adapter-only"] if adapter else [])])
    if adapter:
        return
    own = given.get("head") is not None
    model = getattr(transformers, kind).from_pretrained(folder, trust_remote_code=own)
    assert type(model).__name__ == "OwnHeadModel" if own else type(model).__module__.startswith("transformers.models.")
    if own:
        for name in (kind, "AutoModel"):
            with pytest.raises(ValueError, match="trust_remote_code=True"):
                getattr(transformers, name).from_pretrained(folder)


@pytest.mark.usefixtures("in_process")
def test_a_head_of_the_user(tiny: Tiny, sentiment: str, tmp_path: Path) -> None:
    """Its code is not exported, so transformers finds no model but the backbone, in a folder of its own."""
    given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "model__head": "tests.support.own_head.Doubled"}
    run = fitted(tmp_path / "run", "TextClassification", trainer__max_steps=4, **given)
    folder = tmp_path / "out"
    main(["export", "--run", str(run), "--output", str(folder)])
    for opening in (lambda: pipeline("text-classification", model=str(folder)), lambda: AutoModel.from_pretrained(folder)):
        with pytest.raises((OSError, ValueError)):
            opening()
    assert type(AutoModel.from_pretrained(folder / "backbone")).__name__ == "BertModel"
    assert ftlit.load(folder)(TEXTS) == ftlit.load(run)(TEXTS)

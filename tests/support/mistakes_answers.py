"""Mistakes in the right answers of rows: labels, tags, spans and choices."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.small_files import QUESTIONS, SENTENCE, SQUAD, TAGGED, TEXTS, WRITERS, Case, fit, written


def labels(folder: Path) -> Iterator[Case]:
    several = {"model__multi_label": True}
    wrong: dict[str, tuple[Any, dict[str, object]]] = {
        "an object": ({"name": "good"}, {}),
        "a list": (["good"], {}),
        "an object in a list": ([{"name": "good"}], several),
        "null in a list": (["good", None], several),
        "a blank in a list": (["good", " "], several),
        "one twice in a list": (["good", "good"], several),
        "a list in a list": ([["good"], ["bad"]], several),
        "a fraction in a list": ([0.5, 1.0], several),
        "a vector without names": ([0, 1, 1], several),
        "a vector and too many names": ([0, 1, 1], several | {"data__label_names": ["a", "b", "c", "d"]}),
        "a position out of range": ([7], several | {"data__label_names": ["a", "b"]}),
        "a name and its number": (["a", "0"], several | {"data__label_names": ["a", "b"]}),
    }
    for number, (name, (value, options)) in enumerate(wrong.items()):
        rows = [{"text": f"word{i}", "label": value} for i in range(20)]
        for ending in ("jsonl", "parquet"):
            path = written(folder / f"{number}.{ending}", WRITERS[ending](rows))
            yield f"{ending}, label: {name}", fit(TEXTS, path, **options)
    texts = {
        "a list as text": ("['good']", {}),
        "an object as text": ("{'a': 1}", {}),
        "a broken list": ("['good' bad]", several),
    }
    for name, (value, options) in {**texts, "one twice": ("good;good", several | {"data__separator": ";"})}.items():
        rows = [{"text": f"word{i}", "label": value} for i in range(20)]
        yield f"tsv, label: {name}", fit(TEXTS, written(folder / f"{name}.tsv", WRITERS["tsv"](rows)), **options)
    yield "tsv, data.separator is empty", fit(TEXTS, folder / "one twice.tsv", **several, data__separator="")


def tags(folder: Path) -> Iterator[Case]:
    for ending in ("txt", "conll", "iob", "bio"):
        spoilt = {
            "a line without its tag": SENTENCE * 9 + "alone\n",
            "an empty tag": SENTENCE * 9 + "word1\t\n",
            "an unknown prefix": SENTENCE * 9 + "word1\tX-PER\n",
            "a type without its prefix": SENTENCE * 9 + "word1\tPER\n",
            "no tags": "word1\n\nword2\n\n" * 9,
        }
        for number, (mistake, content) in enumerate(spoilt.items()):
            yield f"{ending}, {mistake}", fit(TAGGED, written(folder / f"{number}.{ending}", content))
        good = written(folder / f"good.{ending}", SENTENCE * 12)
        yield f"{ending}, data.tags names no column", fit(TAGGED, good, data__tags="ner")
        yield f"{ending}, tokens are the tags", fit(TAGGED, good, data__tags="tokens")
        yield f"{ending}, label_names twice", fit(TAGGED, good, data__label_names=["O", "B-PER", "O"])
        yield f"{ending}, another scheme", fit(TAGGED, good, data__scheme="IO")
    for name, row in {
        "fewer tags": {"tokens": ["a", "b"], "tags": ["O"]},
        "null among the words": {"tokens": ["a", None], "tags": ["O", "O"]},
        "null among the tags": {"tokens": ["a", "b"], "tags": ["O", None]},
        "numbers without names": {"tokens": ["a", "b"], "tags": [0, 1]},
        "a text for words": {"tokens": "a b", "tags": ["O", "O"]},
    }.items():
        yield f"jsonl, {name}", fit(TAGGED, written(folder / f"{name}.jsonl", WRITERS["jsonl"]([row] * 20)))


def questions(folder: Path) -> Iterator[Case]:
    row = {"question": "word3", "context": "word1 word2", "answers": {"text": ["word2"], "answer_start": [6]}}
    for name, changes in {
        "an answer that is not in the context": {"answers": {"text": ["word9"], "answer_start": [6]}},
        "an answer of another type": {"answers": 7},
        "a start that is no position": {"answers": {"text": ["word2"], "answer_start": [-1]}},
        "fewer starts than answers": {"answers": {"text": ["word1", "word2"], "answer_start": [0]}},
        "no context": {"context": None},
        "answers to an impossible question": {"is_impossible": True},
        "no answer to a possible question": {"is_impossible": False, "answers": {"text": [], "answer_start": []}},
    }.items():
        yield f"jsonl, {name}", fit(QUESTIONS, written(folder / f"{name}.jsonl", WRITERS["jsonl"]([{**row, **changes}] * 20)))
    impossible = json.dumps(SQUAD).replace('"question"', '"is_impossible": true, "question"')
    yield "squad.json, answers to an impossible question", fit(QUESTIONS, written(folder / "impossible.json", impossible))
    for key in ("context", "qas", "question", "answers", "text", "answer_start"):
        path = written(folder / f"without_{key}.json", json.dumps(SQUAD).replace(f'"{key}"', '"other"'))
        yield f"squad.json, no {key}", fit(QUESTIONS, path)
    choices = {"question": "word1", "choices": {"label": ["1", "2", "3"], "text": ["word1", "word2", "word3"]}}
    for name, label in (("0 beside names from 1", 0), ("4 of three choices", "4"), ("null", None), ("a name of none", "D")):
        path = written(folder / f"choice_{name}.jsonl", WRITERS["jsonl"]([{**choices, "label": label}] * 20))
        yield f"jsonl, choice: {name}", fit(("MultipleChoice", "MultipleChoiceData"), path)

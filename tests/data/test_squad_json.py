"""The nested JSON of SQuAD: one row a question, fixed types, and places in errors; flat JSON stays as it is."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import datasets
import pytest

from ftlit.data.sources.load import load_splits
from ftlit.data.sources.squad_json import squad_rows
from ftlit.errors import UserError
from tests.support.data import REAL_DATA

READERS = {".json": squad_rows}
ANSWER = {"text": "Rome", "answer_start": 3}
NESTED: dict[str, Any] = {
    "version": "v2.0",
    "data": [
        {
            "title": "Rome",
            "paragraphs": [
                {
                    "context": "In Rome.",
                    "qas": [
                        {
                            "id": "a",
                            "question": "Where?",
                            "answers": [ANSWER, {**ANSWER, "answer_end": 7}],
                            "is_impossible": False,
                        },
                        {"id": "b", "question": "When?", "answers": [], "is_impossible": True, "plausible_answers": [ANSWER]},
                    ],
                },
                {"context": "Empty.", "qas": []},
            ],
        },
        {"paragraphs": [{"context": "Who knows.", "qas": [{"id": 7, "question": "Who?", "is_impossible": True}]}]},
    ],
}
ROWS = [
    {"id": "a", "title": "Rome", "context": "In Rome.", "question": "Where?", "answers": [ANSWER, ANSWER]},
    {"id": "b", "title": "Rome", "context": "In Rome.", "question": "When?", "answers": []},
    {"id": "7", "title": "", "context": "Who knows.", "question": "Who?", "answers": []},
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def read(path: Path, content: Any) -> datasets.Dataset:
    path.write_text(json.dumps(content))
    return load_splits(str(path), readers=READERS)["train"]


def one_article(questions: list[dict]) -> dict:
    return {"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": questions}]}]}


def test_one_row_a_question(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.json", NESTED)
    assert rows.to_list() == ROWS
    assert rows.column_names == ["id", "title", "context", "question", "answers"]
    assert read(tmp_path / "b.json", NESTED["data"]).to_list() == ROWS  # without the object around the articles


@pytest.mark.parametrize("empty", [1, 1500])
@pytest.mark.parametrize("last", [[], [ANSWER]])
def test_answers_are_structs_where_all_or_the_first_are_empty(tmp_path: Path, empty: int, last: list[dict]) -> None:
    questions = [{"id": str(i), "question": "q", "answers": []} for i in range(empty)]
    rows = read(tmp_path / "a.json", one_article([*questions, {"id": "x", "question": "q", "answers": last}]))
    answer = {"text": datasets.Value("string"), "answer_start": datasets.Value("int64")}
    assert rows.features["answers"] == datasets.List(answer)
    assert rows[0]["answers"] == []
    assert rows[-1]["answers"] == last


FLAT = {"id": "a", "context": "In Rome.", "question": "Where?", "answers": {"text": ["Rome"], "answer_start": [3]}}
NONE = {**FLAT, "answers": {"text": [], "answer_start": []}}


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"version": "1", "data": rows}])
def test_flat_rows_stay_as_they_are(tmp_path: Path, wrap: Any) -> None:
    rows = [NONE] * 1200 + [FLAT]
    assert read(tmp_path / "a.json", wrap(rows)).to_list() == rows
    assert read(tmp_path / "b.json", wrap([NONE])).to_list() == [NONE]
    searched = [{"question": "q", "paragraphs": [{"title": "t"}]}]
    assert read(tmp_path / "c.json", wrap(searched)).to_list() == searched


def test_same_file_under_two_readers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert len(read(path, {"data": NESTED["data"][:1]})) == 2
    assert load_splits(str(path))["train"].column_names == ["title", "paragraphs"]
    assert len(load_splits(str(path), readers=READERS)["train"]) == 2


QUESTION = "article 1, paragraph 1, question 2"


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ([], 1, "x", "article 2: expected an object, got 'x' (str)"),
        ([1], "paragraphs", None, "article 2: 'paragraphs' is missing; it should be a list. There are: no keys"),
        ([0], "title", 3, "article 1: 'title' should be a text, got 3 (int)"),
        ([0], "paragraphs", {"a": 1}, "article 1: 'paragraphs' should be a list, got {'a': 1} (dict)"),
        ([0, "paragraphs"], 1, [], "article 1, paragraph 2: expected an object, got [] (list)"),
        (
            [0, "paragraphs", 1],
            "context",
            None,
            "article 1, paragraph 2: 'context' is missing; it should be a text. There are: qas",
        ),
        ([0, "paragraphs", 1], "qas", "x", "article 1, paragraph 2: 'qas' should be a list, got 'x' (str)"),
        ([0, "paragraphs", 0, "qas"], 1, 5, f"{QUESTION}: expected an object, got 5 (int)"),
        ([0, "paragraphs", 0, "qas", 1], "id", None, f"{QUESTION}: 'id' is missing; it should be a text"),
        ([0, "paragraphs", 0, "qas", 1], "id", True, f"{QUESTION}: 'id' should be a text, got True (bool)"),
        ([0, "paragraphs", 0, "qas", 1], "question", 1.5, f"{QUESTION}: 'question' should be a text, got 1.5 (float)"),
        ([0, "paragraphs", 0, "qas", 0], "answers", None, "article 1, paragraph 1, question 1: 'answers' is missing"),
        ([0, "paragraphs", 0, "qas", 1], "answers", {"text": []}, f"{QUESTION}: 'answers' should be a list, got {{'text'"),
        ([0, "paragraphs", 0, "qas", 1], "answers", ["x"], f"{QUESTION}, answer 1: expected an object, got 'x' (str)"),
        (
            [0, "paragraphs", 0, "qas", 1],
            "answers",
            [ANSWER, {"text": "x", "answer_start": "3"}],
            f"{QUESTION}, answer 2: 'answer_start' should be a whole number, got '3' (str)",
        ),
        ([0, "paragraphs", 0, "qas", 1], "answers", [{"text": "x"}], f"{QUESTION}, answer 1: 'answer_start' is missing"),
        ([0, "paragraphs", 0, "qas", 1], "question", "\ud800", f"{QUESTION}: 'question' holds half a character"),
    ],
)
def test_malformed_nesting_says_where(tmp_path: Path, place: list, key: Any, value: Any, message: str) -> None:
    content = copy.deepcopy(NESTED)
    holder = content["data"]
    for step in place:
        holder = holder[step]
    if value is None:
        del holder[key]
    else:
        holder[key] = value
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match=re.escape(f"{path}, {message}")):
        read(path, content)


def test_other_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match=re.escape(f"{path} has no rows")):
        read(path, one_article([]))
    with pytest.raises(UserError, match=re.escape(f"{path} has no rows")):
        read(path, {"data": []})
    with pytest.raises(UserError, match="should contain a list of objects"):
        read(path, {"articles": []})
    path.write_text('{"data": [\n}')
    with pytest.raises(UserError, match=re.escape(f"{path}, line 2: not valid JSON")):
        load_splits(str(path), readers=READERS)


@pytest.mark.slow
@pytest.mark.real_data
def test_squad() -> None:
    splits = load_splits(str(REAL_DATA / "squad"), readers=READERS)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 7617, "validation": 1817}
    chinese = load_splits(str(REAL_DATA / "squad"), splits={"train": None, "test": "xquad.zh"}, readers=READERS)["test"]
    assert len(chinese) == 1190
    for rows in (*splits.values(), chinese):
        assert len(set(rows["id"])) == len(rows)
        for row in rows:
            assert row["answers"]
            for answer in row["answers"]:
                assert row["context"][answer["answer_start"] :].startswith(answer["text"])

"""The quickstart's rows."""

import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftlit.data import chatterbot
from ftlit.data.chatterbot import topics
from ftlit.data.rows.duplicates import find_overlap, normalised
from ftlit.errors import UserError

installed = pytest.mark.skipif(
    importlib.util.find_spec("chatterbot_corpus") is None, reason="chatterbot-corpus is not installed"
)


@installed
def test_rows_of_the_corpus() -> None:
    splits = topics()
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 342, "validation": 49, "test": 97}
    counts = Counter(row["label"] for row in splits["train"])
    assert counts == {"trivia": 182, "coding": 67, "psychology": 44, "ai": 42, "tech_support": 7}
    assert all(set(counts) == {row["label"] for row in rows} for rows in splits.values())
    assert splits["test"][0] == topics()["test"][0]


@installed
def test_splits_share_no_text() -> None:
    splits = {name: [row["text"] for row in rows] for name, rows in topics().items()}
    texts = [normalised(text) for rows in splits.values() for text in rows]
    assert len(set(texts)) == len(texts)
    assert find_overlap(splits["train"], splits["validation"] + splits["test"]).exact == 0


def fake_corpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        chatterbot.importlib.util, "find_spec", lambda _: SimpleNamespace(submodule_search_locations=[str(folder)])
    )
    (folder / "data" / "english").mkdir(parents=True)


def test_rule_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_corpus(tmp_path, monkeypatch)
    english = tmp_path / "data" / "english"
    odd = "- []\n- - ''\n  - a\n- - 1999\n  - a\n- - Question 3!\n  - again\n"
    many = "".join(f"- - Question {i}?\n  - answer\n" for i in range(60))
    (english / "many.yml").write_text(f"categories: [x]\nconversations:\n{odd}{many}")
    (english / "same.yml").write_text(f"categories: [x]\nconversations:\n{many}- - One more\n  - yes\n")
    (english / "few.yml").write_text("categories: [x]\nconversations:\n- - Hi\n  - Hello\n")
    splits = topics()
    assert {name: Counter(row["label"] for row in rows) for name, rows in splits.items()} == {
        "train": {"many": 42},
        "validation": {"many": 6, "same": 1},
        "test": {"many": 12},
    }
    assert {"text": "Question 3!", "label": "many"} in [row for rows in splits.values() for row in rows]


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chatterbot.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=re.escape("pip install --no-deps chatterbot-corpus==1.3.3")):
        topics()

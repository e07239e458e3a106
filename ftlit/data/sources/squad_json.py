"""The JSON layout of SQuAD: articles with paragraphs, and questions about each paragraph.

Rajpurkar et al., 2016 (version 1.1) and 2018 (version 2.0, where a question may have no answer).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.data.sources.formats import Located, describe_value, json_list, json_rows
from ftlit.errors import UserError

if TYPE_CHECKING:
    import datasets

TYPE_NAMES = {str: "a text", list: "a list", int: "a whole number"}
IMPOSSIBLE = "is_impossible"  # of SQuAD 2.0: the question has no answer
SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can contain one, UTF-8 cannot


def squad_rows(path: Path) -> Located:
    """One row a question: ``id``, ``title``, ``context``, ``question``, and ``answers``, a list of texts with starts.

    A file without articles and paragraphs is read as JSON rows with its own columns.

    Raises:
        UserError: If something is missing or has the wrong type; the message names the article, paragraph and question.
    """
    articles = json_list(path)
    return _questions(path, articles) if _nested(articles) else json_rows(path)


def squad_features(path: Path) -> datasets.Features | None:
    """The column types of a nested file, which do not depend on its answers; None for a file of rows."""
    if not _nested(json_list(path)):
        return None
    import datasets

    texts = {name: datasets.Value("string") for name in ("id", "title", "context", "question")}
    answer = {"text": datasets.Value("string"), "answer_start": datasets.Value("int64")}
    return datasets.Features({**texts, "answers": datasets.List(answer)})


def _nested(articles: list[Any]) -> bool:
    # Rows with a question may have a column of this name too.
    return any(isinstance(article, dict) and "paragraphs" in article and "question" not in article for article in articles)


def _questions(path: Path, articles: list[Any]) -> Located:
    for at, article in _places(articles, f"{path}, article"):
        title = _get(article, "title", str, at) if isinstance(article, dict) and article.get("title") is not None else ""
        for place, paragraph in _places(_get(article, "paragraphs", list, at), f"{at}, paragraph"):
            context = _get(paragraph, "context", str, place)
            for where, question in _places(_get(paragraph, "qas", list, place), f"{place}, question"):
                asked = {"id": _id(question, where), "title": title, "context": context}
                asked["question"] = _get(question, "question", str, where)
                yield where.removeprefix(f"{path}, "), {**asked, "answers": _answers(question, where)}


def _id(question: Any, where: str) -> str:
    name = question.get("id") if isinstance(question, dict) else None
    return str(name) if type(name) is int else _get(question, "id", str, where)


def _answers(question: dict[str, Any], where: str) -> list[dict[str, Any]]:
    if question.get(IMPOSSIBLE) is True and "answers" not in question:
        return []
    answers = [
        {"text": _get(answer, "text", str, place), "answer_start": _get(answer, "answer_start", int, place)}
        for place, answer in _places(_get(question, "answers", list, where), f"{where}, answer")
    ]
    if found := impossible_problem(question.get(IMPOSSIBLE), answers):
        raise UserError(f"{where}: {found}")
    return answers


def impossible_problem(impossible: Any, answers: Any) -> str | None:
    """What is wrong with a question whose answers and whose mark for having none do not agree, or None."""
    marked = {"true": True, "1": True, "false": False, "0": False}.get(str(impossible).lower())
    there = bool(answers.get("text") if isinstance(answers, dict) else answers)
    if marked is None or marked != there:
        return None
    return f"{IMPOSSIBLE} is {'true' if marked else 'false'}, but the question has {'answers' if there else 'no answer'}"


def _places(items: list[Any], name: str) -> Iterator[tuple[str, Any]]:
    return ((f"{name} {number}", item) for number, item in enumerate(items, start=1))


def _get(holder: Any, key: str, kind: type, where: str) -> Any:
    """The value of ``key``, which must exist and have the right type."""
    if not isinstance(holder, dict):
        raise UserError(f"{where}: expected an object, got {describe_value(holder)}")
    if key not in holder:
        raise UserError(
            f"{where}: {key!r} is missing; it should be {TYPE_NAMES[kind]}. There are: {', '.join(holder) or 'no keys'}"
        )
    if type(holder[key]) is not kind:
        raise UserError(f"{where}: {key!r} should be {TYPE_NAMES[kind]}, got {describe_value(holder[key])}")
    if kind is str and SURROGATE.search(holder[key]):
        raise UserError(f"{where}: {key!r} holds half a character, got {describe_value(holder[key])}")
    return holder[key]

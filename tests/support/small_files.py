"""Small files of every format, and the arguments of a `fit` on them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

ROWS = [{"text": f"word{i} café", "label": "good" if i % 2 else "bad"} for i in range(24)]
SENTENCE = "Anna\tB-PER\nwrites\tO\ncafé\tO\n\n"
TAGGED = ("TokenClassification", "TokenClassificationData")
TEXTS = ("TextClassification", "TextClassificationData")
QUESTIONS = ("QuestionAnswering", "QuestionAnsweringData")
Case = tuple[str, list[str]]


def fit(task: tuple[str, str], dataset: object, **options: object) -> list[str]:
    """The arguments of a `fit` of a task on a data set; options have ``__`` for each dot, and are written as JSON."""
    model, data = task
    short = {"data.stride": 16} if task == QUESTIONS else {}  # for a backbone with few positions
    options = {key.replace("__", "."): value for key, value in options.items()}
    given = {"model": model, "data": data, "data.dataset": dataset, **short, **options}
    return [f"--{key}={value if isinstance(value, str | Path) else json.dumps(value)}" for key, value in given.items()]


def written(path: Path, content: bytes | str) -> Path:
    """The path of a file that is made with this content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def delimited(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "".join(delimiter.join(fields) + "\n" for fields in lines).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "csv": lambda rows: delimited(rows, ","),
    "tsv": lambda rows: delimited(rows, "\t"),
    "json": lambda rows: json.dumps(rows, ensure_ascii=False).encode(),
    "jsonl": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(),
    "parquet": parquet,
}
SQUAD = {
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "word1 café word2",
                    "qas": [
                        {"id": f"q{i}", "question": "word3", "answers": [{"text": "café", "answer_start": 6}]}
                        for i in range(20)
                    ],
                }
            ],
        }
    ]
}

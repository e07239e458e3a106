"""Mistakes in data, made for every format: each belongs to a `fit` that must be refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet

from tests.support.mistakes_answers import labels, questions, tags
from tests.support.small_files import (
    QUESTIONS,
    ROWS,
    SENTENCE,
    SQUAD,
    TAGGED,
    TEXTS,
    WRITERS,
    Case,
    delimited,
    fit,
    written,
)

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256))
WORD = "{}\tword{}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n"
UNIVERSAL = "# text = word1 word2\n" + "".join(WORD.format(i, i) for i in (1, 2)).replace("word2", "café") + "\n"
TASKS = (
    *("TextClassification", "TextRegression", "TokenClassification", "RelationExtraction", "QuestionAnswering"),
    *("MultipleChoice", "Seq2Seq"),
)


def cases(folder: Path) -> Iterator[Case]:
    """The name of each mistake, and the arguments of a `fit` that must be refused, without a backbone and a run folder.

    Args:
        folder: An empty folder for the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in (damaged_files, columns_and_nulls, duplicates, labels, tags, questions, saved_folders, split_files, pairs):
        yield from kind(folder / kind.__name__)


# Files


def whole_files() -> dict[str, tuple[tuple[str, str], bytes]]:
    """A file of each format without a mistake, and the task that reads it."""
    made = {ending: (TEXTS, write(ROWS)) for ending, write in WRITERS.items()}
    made |= {ending: (TAGGED, (SENTENCE * 12).encode()) for ending in ("txt", "conll", "iob", "bio")}
    made |= {"conllu": (TAGGED, (UNIVERSAL * 12).encode()), "squad.json": (QUESTIONS, json.dumps(SQUAD).encode())}
    return made | {"corpus.txt": (("MaskedLM", "CorpusData"), "word1 café word2\n".encode() * 30)}


def damaged_files(folder: Path) -> Iterator[Case]:
    for ending, (task, good) in whole_files().items():
        accent = good.find("é".encode())
        cut = good[: accent + 1] if accent >= 0 and ending != "parquet" else good[: len(good) * 2 // 3]
        spoilt = {
            "empty": b"",
            "blank": b"\n \n",
            "cut": cut,
            "utf-16": good.decode("latin-1").encode("utf-16"),
            "utf-16 without mark": good.decode("latin-1").encode("utf-16-le"),
            "latin-1": good if ending == "parquet" else good.replace("é".encode(), b"\xe9").replace(b"\\u00e9", b"\xe9"),
            "pointer": POINTER,
            "picture": PICTURE,
            "zeros at the end": good[:-40] + bytes(40),
        }
        if ending == "parquet":
            del spoilt["latin-1"]
        for mistake, content in spoilt.items():
            options = {"model__spans": False} if ending == "conllu" else {}
            yield f"{ending}, {mistake}", fit(task, written(folder / mistake / f"data.{ending}", content), **options)
        yield f"{ending}, missing", fit(task, folder / f"nowhere.{ending}")
        link = folder / f"link.{ending}"
        link.symlink_to(folder / "nowhere")
        yield f"{ending}, link to nothing", fit(task, link)


def columns_and_nulls(folder: Path) -> Iterator[Case]:
    for ending, write in WRITERS.items():
        good = written(folder / f"good.{ending}", write(ROWS))
        for key in ("text", "label", "text_pair"):
            yield f"{ending}, data.{key} names no column", fit(TEXTS, good, **{f"data__{key}": "txet"})
        yield f"{ending}, data.text is the column of the label", fit(TEXTS, good, data__text="label")
        yield f"{ending}, both texts are one column", fit(TEXTS, good, data__text_pair="text")
        for column in ("text", "label"):
            for name, nothing in (("null", "" if ending in ("csv", "tsv") else None), ("blank", "  ")):
                rows = [*ROWS[:7], {**ROWS[7], column: nothing}, *ROWS[8:]]
                path = written(folder / f"{column}_{name}.{ending}", write(rows))
                yield f"{ending}, {column} is {name}", fit(TEXTS, path)
        without = written(folder / f"without.{ending}", write([{"text": row["text"]} for row in ROWS]))
        yield f"{ending}, no labels", fit(TEXTS, without)
        yield f"{ending}, a label of no number", fit(("TextRegression", "TextRegressionData"), good)
        yield f"{ending}, one label alone", fit(TEXTS, written(folder / f"one.{ending}", write(ROWS[::2])))
        yield f"{ending}, one row", fit(TEXTS, written(folder / f"row.{ending}", write(ROWS[:1])))
    semicolons = written(folder / "semicolons.csv", delimited(ROWS, ";"))
    yield "csv, semicolons", fit(TEXTS, semicolons)
    yield "csv, tabs", fit(TEXTS, written(folder / "tabs.csv", delimited(ROWS, "\t")))
    yield "tsv, commas", fit(TEXTS, written(folder / "commas.tsv", delimited(ROWS, ",")))
    for number in ("4_4", "1,5", "nan", "inf", "-infinity", "1e999", "0x10", "four", "²"):
        rows = [{**row, "label": number if i == 5 else i} for i, row in enumerate(ROWS)]
        path = written(folder / f"number_{len(number)}_{ord(number[0])}.tsv", delimited(rows, "\t"))
        yield f"tsv, the number {number}", fit(("TextRegression", "TextRegressionData"), path)


def duplicates(folder: Path) -> Iterator[Case]:
    for ending, sign in (("csv", ","), ("tsv", "\t")):
        twice = delimited(ROWS, sign).replace(f"text{sign}label".encode(), f"text{sign}text".encode(), 1)
        yield f"{ending}, a column twice", fit(TEXTS, written(folder / f"twice.{ending}", twice), data__label="text")
    key = '{"text": "word1", "text": "word2", "label": "good"}'
    yield "jsonl, a key twice", fit(TEXTS, written(folder / "twice.jsonl", f"{key}\n" * 20))
    yield "json, a key twice", fit(TEXTS, written(folder / "twice.json", f"[{', '.join([key] * 20)}]"))
    table = pa.table([["word1"] * 20, ["good"] * 20, ["bad"] * 20], names=["text", "label", "label"])
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink)
    yield "parquet, a column twice", fit(TEXTS, written(folder / "twice.parquet", sink.getvalue().to_pybytes()))
    for ending, write in WRITERS.items():
        path = written(folder / f"good.{ending}", write(ROWS))
        yield f"{ending}, label_names twice", fit(TEXTS, path, data__label_names=["bad", "good", "bad"])
    listed = written(folder / "labels.txt", "bad\ngood\n bad\n")
    yield "a file of label_names, one twice", fit(TEXTS, folder / "good.csv", data__label_names=listed)


# Folders


def saved_folders(folder: Path) -> Iterator[Case]:
    rows = datasets.Dataset.from_list(ROWS)
    whole, one = folder / "whole", folder / "one"
    datasets.DatasetDict({"train": rows, "validation": rows}).save_to_disk(whole)
    rows.save_to_disk(one)
    for source in (whole, one):
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            for mistake in ("empty", "cut", "pointer", "picture", "missing"):
                # Without its list of splits, or of its files, a folder is no folder of `datasets`.
                name = f"{source.name}, {file.relative_to(source)} {mistake}"
                to = shutil.copytree(source, folder / name.replace("/", "_").replace(" ", "_"))
                spoilt, content = to / file.relative_to(source), file.read_bytes()
                new = {"empty": b"", "cut": content[: len(content) // 2], "pointer": POINTER, "picture": PICTURE}
                spoilt.unlink() if mistake == "missing" else spoilt.write_bytes(new[mistake])
                yield f"datasets folder {name}", fit(TEXTS, to)


def split_files(folder: Path) -> Iterator[Case]:
    good, unlabelled = WRITERS["csv"](ROWS), WRITERS["csv"]([{"text": row["text"]} for row in ROWS])
    folders: dict[str, dict[str, bytes]] = {
        "no file": {},
        "no file of rows": {"README.md": b"x"},
        "no usual name": {"part1.csv": good},
        "a file of no split": {"train.csv": good, "holdout.csv": good},
        "a file of two splits": {"train.csv": good, "train_dev.csv": good},
        "two files of validation": {"train.csv": good, "dev.csv": good, "val.csv": good},
        "validation matched and mismatched": {
            **{"train.csv": good, "validation_matched.csv": good, "validation_mismatched.csv": good},
        },
        "two formats of train": {"train.csv": good, "train.jsonl": WRITERS["jsonl"](ROWS)},
        "a packed validation": {"train.csv": good, "dev.csv.gz": b"\x1f\x8b"},
        "a part of train missing": {"train-00000-of-00002.csv": good},
        "test without labels": {"train.csv": good, "validation.csv": good, "test.csv": unlabelled},
        "test with other labels": {"train.csv": good, "test.csv": good.replace(b"good", b"fine")},
        "validation is empty": {"train.csv": good, "validation.csv": b""},
        "validation is a pointer": {"train.csv": good, "validation.csv": POINTER},
    }
    for name, files in folders.items():
        (folder / name).mkdir(parents=True)
        for file, content in files.items():
            written(folder / name / file, content)
        yield f"folder, {name}", fit(TEXTS, folder / name)
    yield "folder, an unknown split in data.splits", fit(TEXTS, folder / "no usual name", data__splits={"train": "part2"})
    yield "folder, an unknown key in data.splits", fit(TEXTS, folder / "no usual name", data__splits={"dev": "part1"})
    yield "data.dataset is empty", fit(TEXTS, "")


def pairs(folder: Path) -> Iterator[Case]:
    path = written(folder / "good.csv", WRITERS["csv"](ROWS))
    for task in TASKS:
        for other in (*TASKS, "Corpus"):
            if other != task:
                yield f"{task} with {other}Data", fit((task, f"{other}Data"), path)

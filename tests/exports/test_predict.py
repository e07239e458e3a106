"""New texts are labelled in order, from every kind of file, and mistakes leave no file behind."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ftlit
from ftlit.__main__ import main
from ftlit.data import QuestionAnsweringData, TokenClassificationData
from ftlit.errors import UserError
from ftlit.exports.output.formats import write_csv
from ftlit.exports.predict import read_input
from ftlit.exports.predicting.windows import WINDOW_ROWS
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows


@pytest.fixture
def run(finished: Callable[[], Path]) -> str:
    return str(finished())


TEXTS = [row["text"] for row in sentiment_rows(50, 7)]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_format_gives_the_same_in_order(run: str, tmp_path: Path) -> None:
    expected = ftlit.load(run)(TEXTS)
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text, "id": f"x{i}"}) + "\n" for i, text in enumerate(TEXTS)))
    with (tmp_path / "a.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["text"])
        table.writeheader()
        table.writerows({"text": text} for text in TEXTS)
    for suffix in ("txt", "jsonl", "csv"):
        main(["predict", "--run", run, "--input", str(tmp_path / f"a.{suffix}"), "--output", str(tmp_path / "out.jsonl")])
        found = lines(tmp_path / "out.jsonl")
        assert [row["id"] for row in found] == ([f"x{i}" for i in range(50)] if suffix == "jsonl" else list(range(50)))
        assert [(row["prediction"], row["score"]) for row in found] == [(e["prediction"], e["score"]) for e in expected]
        assert "scores" not in found[0]


def test_all_scores_on_request(run: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word1 good\n")
    out = tmp_path / "out.csv"
    main(["predict", "--run", run, "--input", str(tmp_path / "a.txt"), "--output", str(out), "--scores", "true"])
    [row] = csv.DictReader(out.open())
    scores = [float(row["scores.bad"]), float(row["scores.good"])]
    assert sum(scores) == pytest.approx(1)
    assert float(row["score"]) == pytest.approx(max(scores))


def test_a_label_may_have_the_name_of_a_column(tmp_path: Path) -> None:
    scores = {"id": 0.75, "score": 0.125, "truncated": 0.125}
    write_csv(({"id": f"x{i}", "prediction": "id", "score": 0.75, "scores": scores} for i in range(2)), tmp_path / "a.csv")
    [first, second] = csv.DictReader((tmp_path / "a.csv").open())
    assert [first["id"], second["id"], first["prediction"], first["score"]] == ["x0", "x1", "id", "0.75"]
    assert [first["scores.id"], first["scores.score"], first["truncated"]] == ["0.75", "0.125", "false"]


def test_standard_input_and_output(run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"word1 good\n\nword2 bad\n")))
    main(["predict", "--run", run, "--input", "-"])
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [0, 1]


def test_standard_input_is_read_as_files_are(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfgood\r\n")))
    main(["predict", "--run", run, "--input", "-", "--scores", "true"])
    assert json.loads(capsys.readouterr().out) == ftlit.load(run)(["good"], scores=True)[0]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"good\ncaf\xe9\n")))
    said = refusal(["predict", "--run", run, "--input", "-"], capsys)
    assert "standard input, line 2: the byte 0xe9 is not UTF-8" in said


def test_one_text_is_not_taken_for_many(run: str) -> None:
    for one in ("word", {"text": "word1"}):
        with pytest.raises(UserError, match="expected a list of texts or rows, got"):
            ftlit.load(run)(one)


def test_a_device_that_is_not_there(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("a")
    for name in ("cuda:99", "gpux"):
        said = refusal(["predict", "--run", run, "--input", str(tmp_path / "a.txt"), "--device", name], capsys)
        assert f"device {name!r} cannot be used here" in said


def test_a_stream_is_not_read_ahead_of_its_window(run: str) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield "word1"

    stream = ftlit.load(run).stream(endless())
    assert next(stream)["id"] == 0
    assert taken == WINDOW_ROWS


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (
            '{"text": "a"}\n{"txt": "b"}\n',
            "a.jsonl",
            "a.jsonl, line 2: there is no column 'text'; this run needs the column 'text'",
        ),
        ('{"text": "a"}\n{"text": ""}\n', "a.jsonl", "a.jsonl, line 2: the text in column 'text' is empty"),
        ('{"text": "a"}\n\n5\n', "a.jsonl", "a.jsonl, line 3: expected a text or an object, got 5 (int)"),
        ("[[1]]", "a.json", "a.json, row 1: expected a text or an object, got [1] (list); this run needs the column 'text'"),
        ("text,other\na,b\n\n,b\n", "a.csv", "a.csv, row 2 (line 4): the text in column 'text' is empty"),
        ('{"text": "a"}\nnonsense\n', "a.jsonl", "line 2"),
        ("a", "a.doc", "must end in one of .csv"),
        ('{"text": "\\ud83d"}\n', "a.jsonl", "a.jsonl, line 1: the text in column 'text' holds half a character"),
    ],
)
def test_mistakes(run: str, tmp_path: Path, content: str, name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as left:
        main(["predict", "--run", run, "--input", str(tmp_path / name), "--output", str(tmp_path / "out.jsonl")])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("size", [0, -3])
def test_batches_hold_a_row_at_least(run: str, tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(SystemExit) as left:
        main(["predict", "--run", run, "--input", str(tmp_path / "a.txt"), f"--batch_size={size}"])
    assert left.value.code == 2
    assert f"batch_size must be at least 1, got {size}" in capsys.readouterr().err


def test_a_text_that_is_cut_says_so(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("\n".join(["good " * count for count in (62, 63, 3, 100)]))
    assert [row.get("truncated") for row in ftlit.load(run)((tmp_path / "a.txt").read_text().splitlines())] == [None, True] * 2
    for name in ("out.jsonl", "out.csv"):
        main(["predict", "--run", run, "--input", str(tmp_path / "a.txt"), "--output", str(tmp_path / name)])
        assert "2 of 4 texts were truncated to 64 tokens" in capsys.readouterr().err
    assert [row.get("truncated", False) for row in lines(tmp_path / "out.jsonl")] == [False, True, False, True]
    assert [row["truncated"] for row in csv.DictReader((tmp_path / "out.csv").open())] == ["false", "true"] * 2
    (tmp_path / "a.txt").write_text("good")
    main(["predict", "--run", run, "--input", str(tmp_path / "a.txt"), "--output", str(tmp_path / "out.jsonl")])
    assert "truncated" not in capsys.readouterr().err


def test_files_are_read_as_in_training_but_for_plain_texts(tmp_path: Path) -> None:
    asked = {
        "context": "a b",
        "qas": [{"id": "q1", "question": "c", "answers": []}, {"id": "q2", "question": "d", "answers": []}],
    }
    nested = tmp_path / "a.json"
    nested.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [asked]}]}))
    found = list(read_input(str(nested), QuestionAnsweringData.readers))
    assert [(row["question"], row["context"], row["id"]) for _, row in found] == [("c", "a b", "q1"), ("d", "a b", "q2")]
    assert found[1][0] == f"{nested}, article 1, paragraph 1, question 2"
    plain = tmp_path / "a.txt"
    plain.write_text("EU rejects\n\nGerman call\n")
    texts = [(f"{plain}, line 1", "EU rejects"), (f"{plain}, line 3", "German call")]
    assert list(read_input(str(plain), TokenClassificationData.readers)) == texts


def test_a_run_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(SystemExit) as left:
        main(["predict", "--run", str(tmp_path / "no"), "--input", str(tmp_path / "a.txt")])
    assert left.value.code == 2
    assert "holds no finished run" in capsys.readouterr().err

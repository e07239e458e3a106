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
from ftlit.predict import CHUNK
from tests.conftest import sentiment_rows
from tests.helpers import arguments


@pytest.fixture(scope="module")
def run(tiny: Callable[[str], str], sentiment: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("predict") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "run_dir": folder}
        main(arguments("fit", "TextClassification", "TextClassificationData", **given))
    return str(folder)


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
    assert float(row["bad"]) + float(row["good"]) == pytest.approx(1)
    assert float(row["score"]) == pytest.approx(max(float(row["bad"]), float(row["good"])))


def test_standard_input_and_output(run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("word1 good\n\nword2 bad\n"))
    main(["predict", "--run", run, "--input", "-"])
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [0, 1]


def test_a_stream_is_not_read_ahead_of_its_chunk(run: str) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield "word1"

    stream = ftlit.load(run).stream(endless())
    assert next(stream)["id"] == 0
    assert taken == CHUNK


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ('{"text": "a"}\n{"txt": "b"}\n', "a.jsonl", "row 2: there is no column 'text'; this run needs the column 'text'"),
        ('{"text": "a"}\n{"text": ""}\n', "a.jsonl", "row 2: the text in column 'text' is empty"),
        ('{"text": "a"}\nnonsense\n', "a.jsonl", "line 2"),
        ("a", "a.doc", "should end in one of .csv"),
    ],
)
def test_mistakes(run: str, tmp_path: Path, content: str, name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as left:
        main(["predict", "--run", run, "--input", str(tmp_path / name), "--output", str(tmp_path / "out.jsonl")])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_a_run_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(SystemExit) as left:
        main(["predict", "--run", str(tmp_path / "no"), "--input", str(tmp_path / "a.txt")])
    assert left.value.code == 2
    assert "holds no finished run" in capsys.readouterr().err

"""Files of any length: windows of rows, commands that are killed and go on, shares of the rows, and parquet."""

import csv
import fcntl
import json
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.exports.output import parquet
from ftlit.exports.output.parquet import write_parquet
from ftlit.exports.predicting import predictor, windows
from ftlit.exports.predicting.predictor import Predictor
from ftlit.exports.predicting.sizes import by_tokens
from ftlit.exports.predicting.windows import Share, ahead, share_of
from ftlit.models.speed.linear import missing
from tests.support.command_line import ftlit, kill_when, refusal
from tests.support.data import sentiment_rows

WINDOW = 8
TEXTS = [row["text"] + " word1" * (i % 7) for i, row in enumerate(sentiment_rows(52, 7))]
Place = tuple[str, Path]  # a finished run, and an empty folder with the input


@pytest.fixture
def place(finished: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(predictor, "WINDOW_ROWS", WINDOW)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return str(finished()), tmp_path


def args(place: Place, output: str, *more: str) -> list[str]:
    return ["predict", "--run", place[0], "--input", f"{place[1]}/in.jsonl", "--output", f"{place[1]}/{output}", *more]


@contextmanager
def counting(most: int | None = None) -> Iterator[list[int]]:
    """The number of rows of each window that goes through the model; after so many, Ctrl-C is pressed."""
    seen: list[int] = []
    original = Predictor.answers

    def answers(self: Predictor, window: Any, scores: bool = False) -> Any:
        if len(seen) == most:
            raise KeyboardInterrupt
        seen.append(len(window.ids))
        return original(self, window, scores)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "answers", answers)
        yield seen


def interrupt(place: Place, output: str, *more: str, after: int = 3) -> Path:
    """The partial file of a command that was stopped after some windows."""
    with counting(after), pytest.raises(SystemExit) as left:
        main(args(place, output, *more))
    assert left.value.code == 130
    return place[1] / f"{output}.partial"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(first: Path, second: Path) -> bool:
    if first.suffix == ".parquet":
        return bool(pq.read_table(first).equals(pq.read_table(second)))
    return first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_command_that_was_interrupted_goes_on(suffix: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    main(args(place, f"whole.{suffix}", "--scores", "true"))
    partial = interrupt(place, f"a.{suffix}", "--scores", "true")
    assert f"{3 * WINDOW} predictions are in {partial}; the same command with --resume goes on" in capsys.readouterr().err
    assert names(place[1]) == [f"a.{suffix}.partial", f"a.{suffix}.partial.json", "in.jsonl", f"whole.{suffix}"]
    kept = partial.read_bytes().splitlines(keepends=True)[: 2 * WINDOW + 3]
    partial.write_bytes(b"".join(kept) + b'{"id": 19, "predi')  # as if it had been killed while it wrote
    with counting() as seen:
        main(args(place, f"a.{suffix}", "--scores", "true", "--resume"))
    assert seen == [WINDOW] * 4 + [len(TEXTS) % WINDOW]
    assert same(place[1] / f"a.{suffix}", place[1] / f"whole.{suffix}")
    assert names(place[1]) == [f"a.{suffix}", "in.jsonl", f"whole.{suffix}"]


def test_all_that_was_predicted_is_not_predicted_again(place: Place) -> None:
    main(args(place, "whole.jsonl"))
    partial = interrupt(place, "a.jsonl", after=1)
    partial.write_bytes((place[1] / "whole.jsonl").read_bytes())
    with counting() as seen:
        main(args(place, "a.jsonl", "--resume"))
    assert seen == []
    assert same(place[1] / "a.jsonl", place[1] / "whole.jsonl")


def test_resume_where_nothing_is_left_begins(place: Place) -> None:
    main(args(place, "a.jsonl", "--resume"))
    assert len((place[1] / "a.jsonl").read_text().splitlines()) == len(TEXTS)


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ("input", [], "the input differs from what its predictions were made with; leave out --resume to begin anew"),
        ("", ["--scores", "true"], "--scores differs from what its predictions were made with (False then, True now); leave"),
        ("", ["--batch_size", "3"], "--batch_size differs from what its predictions were made with (None then, 3 now)"),
        ("", ["--checkpoint", "last"], "the run differs"),
    ],
)
def test_what_was_made_from_something_else(
    change: str, more: list[str], said: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    partial = interrupt(place, "a.jsonl")
    before = partial.read_bytes()
    if change:
        (place[1] / "in.jsonl").write_text((place[1] / "in.jsonl").read_text().replace("word", "other", 1))
    answer = refusal(args(place, "a.jsonl", "--resume", *more), capsys)
    assert f"error: {partial} cannot be resumed: {said}" in answer
    assert partial.read_bytes() == before


def test_without_resume_it_is_replaced(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    partial = interrupt(place, "a.jsonl")
    capsys.readouterr()
    with counting() as seen:
        main(args(place, "a.jsonl"))
    assert sum(seen) == len(TEXTS)
    assert capsys.readouterr().err.splitlines() == [
        f"replacing {partial}, which an earlier command has left (--resume would go on)"
    ]
    assert names(place[1]) == ["a.jsonl", "in.jsonl"]


def test_a_full_disk_leaves_what_was_predicted(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    main(args(place, "whole.jsonl"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        said = refusal(args(place, "a.jsonl"), capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    partial = place[1] / "a.jsonl.partial"
    assert f"{partial} could not be written: file too large; make room there, then repeat the command" in said
    assert 0 < partial.stat().st_size <= 2000
    main(args(place, "a.jsonl", "--resume"))
    assert same(place[1] / "a.jsonl", place[1] / "whole.jsonl")


def test_a_wrong_row_leaves_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with (place[1] / "in.jsonl").open("a") as file:
        file.write('{"text": ""}\n')
    assert f"line {len(TEXTS) + 1}: the text in column 'text' is empty" in refusal(args(place, "a.jsonl"), capsys)
    assert names(place[1]) == ["in.jsonl"]


def test_a_file_that_another_command_writes(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    partial = interrupt(place, "a.jsonl")
    with partial.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "is being written by another command" in refusal(args(place, "a.jsonl", "--resume"), capsys)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--output", "-", "--resume"], "--resume needs files as --input and --output"),
        (["--shard", "0/2"], "--shard '0/2' should read like 2/4, the second of four shares of the rows"),
        (["--shard", "half"], "--shard 'half' should read like 2/4"),
        (["--output", "a.xlsx"], "--output 'a.xlsx' must end in jsonl, csv or parquet"),
    ],
)
def test_mistakes(more: list[str], said: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refusal(args(place, "a.jsonl", *more), capsys)
    assert names(place[1]) == ["in.jsonl"]


@pytest.mark.slow
def test_a_killed_command_goes_on(place: Place) -> None:
    rows = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 2000)
    (place[1] / "in.jsonl").write_text(rows)
    kill_when(args(place, "a.jsonl"), place[1] / "a.jsonl.partial")
    ftlit(args(place, "a.jsonl", "--resume"))
    ftlit(args(place, "whole.jsonl"))
    assert same(place[1] / "a.jsonl", place[1] / "whole.jsonl")


def test_a_command_that_was_killed_before_its_first_prediction(place: Place) -> None:
    (place[1] / "a.jsonl.partial").touch()
    main(args(place, "a.jsonl", "--resume"))
    main(args(place, "whole.jsonl"))
    assert same(place[1] / "a.jsonl", place[1] / "whole.jsonl")


# Shares of the rows


def test_shares_have_the_predictions_of_the_whole(place: Place) -> None:
    main(args(place, "whole.jsonl", "--scores", "true"))
    for i in (1, 2, 3):
        main(args(place, f"{i}.jsonl", "--scores", "true", "--shard", f"{i}/3"))
    found = [line for i in (1, 2, 3) for line in (place[1] / f"{i}.jsonl").read_text().splitlines()]
    whole = (place[1] / "whole.jsonl").read_text().splitlines()
    assert sorted(found, key=lambda line: json.loads(line)["id"]) == whole
    assert [json.loads(line)["id"] for line in found[: WINDOW + 1]] == [*range(WINDOW), 3 * WINDOW]


def test_a_share_goes_on_after_the_rows_that_are_done() -> None:
    found = [[(i, "", "")] * size for i, size in enumerate((3, 3, 3, 3, 2))]
    left = [(window[0][0], done) for window, done in share_of("1/2", done=4).of(found)]
    assert left == [(2, 1), (4, 0)]
    assert [window[0][0] for window, _ in Share(1, 2).of(found)] == [1, 3]


# Windows


def test_windows_of_long_rows_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOW_CHARACTERS", 30)
    rows = [("", {"text": "a" * 10}), ("", "b" * 40), ("", "c"), ("", "d"), ("", "e"), ("", "f")]
    assert [[number for number, _, _ in window] for window in windows.windows(rows, 3)] == [[0, 1], [2, 3, 4], [5]]


def test_batches_of_a_long_file_have_few_numbers_of_tokens() -> None:
    """oneDNN keeps memory for each that it multiplies."""
    multiplied = set()
    for seed in range(40):
        lengths = np.sort(np.random.default_rng(seed).integers(3, 40, 500))
        batches = np.split(lengths, np.cumsum(found := by_tokens(512)(lengths))[:-1])
        assert sum(found) == 500
        assert all(0 < len(batch) * batch[-1] <= 512 for batch in batches)
        numbers = [len(batch) * int(batch[-1]) for batch in batches]
        multiplied |= {number + missing(number) for number in numbers}
    assert len(multiplied) <= 20
    assert by_tokens(512)(np.array([9, 600, 700])) == [1, 1, 1]


def test_one_item_is_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(6):
            made.append(i)
            yield i

    for i in ahead(items()):
        assert len(made) <= i + 2


def test_what_fails_ahead_fails_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise UserError("wrong")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(UserError, match="wrong"):
        next(found)


# Parquet


def test_parquet_holds_what_jsonl_holds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 5)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 20)
    for suffix in ("jsonl", "parquet"):
        main(args(place, f"a.{suffix}", "--scores", "true"))
    expected = [json.loads(line) for line in (place[1] / "a.jsonl").read_text().splitlines()]
    found = pq.ParquetFile(place[1] / "a.parquet")
    assert found.read().to_pylist() == [{**row, "truncated": row.get("truncated", False)} for row in expected]
    assert [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)] == [20, 20, 12]
    assert found.schema_arrow.equals(
        pa.schema(
            {
                "id": pa.int64(),
                "prediction": pa.string(),
                "score": pa.float64(),
                "scores": pa.struct({"bad": pa.float64(), "good": pa.float64()}),
                "truncated": pa.bool_(),
            }
        )
    )


def test_parquet_in_and_out_with_own_ids(place: Place) -> None:
    ids: list[Any] = [f"x{i}" for i in range(len(TEXTS))]
    pq.write_table(pa.table({"text": TEXTS, "id": ids}), place[1] / "in.parquet")
    main([*args(place, "a.parquet"), "--input", f"{place[1]}/in.parquet"])
    main(args(place, "a.csv"))
    found, table = pq.read_table(place[1] / "a.parquet").to_pylist(), csv.DictReader((place[1] / "a.csv").open())
    assert [row["id"] for row in found] == ids
    assert [(row["prediction"], str(row["score"])) for row in found] == [(row["prediction"], row["score"]) for row in table]


def test_ids_that_are_not_all_numbers_are_texts(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": 1, "own": None}, {"id": "x"}, {"id": 2.5, "own": [1]}]
    write_parquet(lambda: iter(rows), tmp_path / "a.parquet", {})
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [
        {"id": "1", "own": None, "truncated": False},
        {"id": "x", "own": None, "truncated": False},
        {"id": "2.5", "own": [1], "truncated": False},
    ]
    with pytest.raises(UserError, match=r"these predictions cannot be written as parquet .*; choose jsonl"):
        write_parquet(lambda: iter([{"id": 1, "score": "high"}]), tmp_path / "b.parquet", {"score": float})

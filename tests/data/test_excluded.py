"""`data.exclude`: training without the rows that a file lists."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftlit
from ftlit.data.shared.summary import data_report, data_text
from ftlit.errors import UserError
from tests.support.data import sentiment_rows, write_splits
from tests.support.runs import fitted

Make = Callable[..., ftlit.TextClassificationData]


@pytest.fixture
def make(tiny: Callable[[str], str], sentiment: str, tmp_path: Path) -> Make:
    """Data of sentiment without the rows that a file with some content lists."""

    def made(content: str, name: str = "out.txt", **options: Any) -> ftlit.TextClassificationData:
        (tmp_path / name).write_text(content)
        given = {"dataset": sentiment, "backbone": tiny("bert"), "exclude": str(tmp_path / name), **options}
        return ftlit.TextClassificationData(**given)

    return made


FORMS = {
    "out.txt": "train:3\n\n 5 \n",
    "out.jsonl": '{"id": "train:3", "label": "good"}\n{"id": 5}\n',
    "out.csv": "text,id\nfine,train:3\nbad,5\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_rows_are_left_out(make: Make, name: str) -> None:
    data = make(FORMS[name], name)
    ids = data.rows["train"]["row_id"][:]
    assert ids == [f"train:{i}" for i in range(83) if i not in (3, 5)]
    assert len(data.rows["validation"]) == 31
    data.setup()
    report = data_report(data)
    assert report["excluded"] == {"file": data.hparams["exclude"], "rows": 2}
    assert f"left out of train: 2 rows that {data.hparams['exclude']} lists" in data_text(report)


def test_the_draws_are_those_of_all_rows(make: Make) -> None:
    drawn = make("train:0\n", limit_train=20)
    whole = ftlit.TextClassificationData(dataset=drawn.dataset, backbone=drawn.backbone, limit_train=20)
    ids = whole.rows["train"]["row_id"][:]
    left = make(f"{ids[4]}\ntrain:0\n", limit_train=20).rows["train"]["row_id"][:]
    assert left == [id_ for id_ in ids if id_ not in (ids[4], "train:0")]


def test_ids_of_the_rows_themselves(make: Make, tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", **row} for i, row in enumerate(sentiment_rows(40, 0))]
    folder = write_splits(tmp_path / "own", {"train": rows})
    data = make("q7\ntrain:q8\n", dataset=folder)
    source = {f"train:q{i}" for i in range(40)}
    used = {*data.rows["train"]["row_id"][:], *data.rows["validation"]["row_id"][:]}
    assert source - used <= {"train:q7", "train:q8"}
    assert not {"train:q7", "train:q8"} & set(data.rows["train"]["row_id"][:])


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("train:99\nvalidation:3\n", "out.txt", r"lists 2 ids that no row of train has, such as 'train:99'; .* 'train:0'"),
        ("\n", "out.txt", "lists no row; remove the option"),
        ('{"text": "a"}\n', "out.jsonl", r"out.jsonl': line 1 has no 'id'; each row should have"),
        ("a", "out.doc", r"ends in none of .*\.csv.*\.txt"),
        ("".join(f"{i}\n" for i in range(83)), "out.txt", "lists all 83 rows of train that are in use"),
    ],
)
def test_mistakes(make: Make, content: str, name: str, said: str) -> None:
    data = make(content, name)
    with pytest.raises(UserError, match=said):
        _ = data.rows["train"]


def test_a_file_that_does_not_exist(sentiment: str, tiny: Callable[[str], str]) -> None:
    data = ftlit.TextClassificationData(dataset=sentiment, backbone=tiny("bert"), exclude="lost.txt")
    with pytest.raises(UserError, match=r"data.exclude 'lost.txt' is not a file; expected one with the ids of rows of train"):
        _ = data.rows["train"]


def test_a_run_keeps_the_number_and_opens_without_the_file(tiny: Callable[[str], str], sentiment: str, tmp_path: Path) -> None:
    listed = tmp_path / "out.txt"
    listed.write_text("0\n1\n")
    given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "data__exclude": listed}
    run = fitted(tmp_path / "run", "TextClassification", **given)
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["excluded"] == {"file": str(listed), "rows": 2}
    assert record["data"]["splits"]["train"]["rows"] == 81
    listed.unlink()
    assert ftlit.load(run)(["good word1"])[0]["prediction"] in ("good", "bad")

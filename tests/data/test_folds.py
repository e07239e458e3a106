"""`data.folds` and `data.fold`: a part of train as validation, for cross-validation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftlit
from ftlit.errors import UserError
from tests.support.data import sentiment_rows, write_splits

Make = Callable[..., ftlit.TextClassificationData]


@pytest.fixture
def make(tiny: Callable[[str], str], sentiment: str) -> Make:
    def made(**options: Any) -> ftlit.TextClassificationData:
        return ftlit.TextClassificationData(**{"dataset": sentiment, "backbone": tiny("bert"), **options})

    return made


def test_each_row_of_train_is_in_validation_once(make: Make) -> None:
    folds = [make(folds=4, fold=i).rows for i in range(4)]
    held_out = [id_ for rows in folds for id_ in rows["validation"]["row_id"][:]]
    assert sorted(held_out) == sorted(f"train:{i}" for i in range(83))
    for rows in folds:
        assert {*rows["train"]["row_id"][:], *rows["validation"]["row_id"][:]} == {f"train:{i}" for i in range(83)}
        assert len(rows["train"]) + len(rows["validation"]) == 83
        assert len(rows["test"]) == 37


def test_listed_rows_are_left_out_of_train_alone(make: Make, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("".join(f"{i}\n" for i in range(20)))
    rows = make(folds=4, fold=0, exclude=str(tmp_path / "out.txt")).rows
    whole = make(folds=4, fold=0).rows
    assert rows["validation"]["row_id"][:] == whole["validation"]["row_id"][:]
    assert rows.excluded == len(whole["train"]) - len(rows["train"])
    assert 10 < rows.excluded < 20


def test_documents_stay_together(make: Make, tmp_path: Path) -> None:
    data = [{**row, "doc": f"d{i // 6}"} for i, row in enumerate(sentiment_rows(60, 0))]
    folder = write_splits(tmp_path / "data", {"train": data})
    rows = make(dataset=folder, folds=3, fold=1, group="doc").rows
    assert not set(rows["train"]["doc"][:]) & set(rows["validation"]["doc"][:])
    with pytest.raises(UserError, match=r"data.folds is 11, but train has 10 documents"):
        _ = make(dataset=folder, folds=11, group="doc").rows["train"]


def test_mistakes(make: Make) -> None:
    with pytest.raises(UserError, match=r"data.fold is 4, but data.folds 4 has the folds 0 to 3"):
        make(folds=4, fold=4)
    with pytest.raises(UserError, match=r"data.folds is 84, but train has 83 rows"):
        _ = make(folds=84).rows["train"]
    with pytest.raises(UserError, match=r"data.folds must be at least 2, got 1"):
        make(folds=1)
    with pytest.raises(UserError, match=r"data.fold is 1, but there are no data.folds"):
        make(fold=1)

"""Rows of an earlier run among new ones: which and how many, in which columns, and that order and record know them."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlit.__main__ import main
from ftlit.data import Replay, TextClassificationData, TextRegressionData
from ftlit.data.replay.choice import evenly, hardest
from ftlit.errors import UserError
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows, write_splits
from tests.support.resuming import differences, final_state, keep_snapshots
from tests.support.runs import fitted

Tiny = Callable[[str], str]
Finished = Callable[[str], Path]


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> str:
    """New rows in other columns, with a label that the earlier run has not seen: 40 of train, 20 of each other split."""
    splits = {}
    for split, (count, seed) in {"train": (40, 11), "validation": (20, 12), "test": (20, 13)}.items():
        rows = [{"said": row["text"], "mood": row["label"]} for row in sentiment_rows(count, seed)]
        splits[split] = [{**row, "mood": "odd"} if i % 4 == 0 else row for i, row in enumerate(rows)]
    return write_splits(tmp_path_factory.mktemp("new"), splits)


def data_of(new: str, backbone: str, replay: Replay | None, **options: Any) -> TextClassificationData:
    given = {"label_names": ["bad", "good", "odd"], "text": "said", "label": "mood", **options}
    return TextClassificationData(dataset=new, backbone=backbone, replay=replay, **given)


def old_rows(data: TextClassificationData, split: str = "train") -> list[dict[str, Any]]:
    return [row for row in data.rows[split].to_list() if row["row_id"].startswith("earlier:")]


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_share_is_that_of_the_whole(share: float, new: str, finished: Finished, tiny: Tiny, sentiment: str) -> None:
    data = data_of(new, tiny("bert"), Replay(str(finished("Full")), share))
    plain = data_of(new, tiny("bert"), None)
    for split in ("train", "validation"):
        rows = data.rows[split].to_list()
        old = old_rows(data, split)
        assert len(old) == round(share * len(rows))
        assert rows[: -len(old)] == plain.rows[split].to_list()  # new rows come first, as without replay
        source = [json.loads(line) for line in (Path(sentiment) / f"{split}.jsonl").read_text().splitlines()]
        for row in old:
            place = int(row["row_id"].rsplit(":", 1)[1])
            assert (row["said"], row["mood"]) == (source[place]["text"], source[place]["label"])
    assert data.rows["test"].to_list() == plain.rows["test"].to_list()
    assert data.fingerprints["train"] != plain.fingerprints["train"]
    assert data.rows.replayed["rows"] == {split: len(old_rows(data, split)) for split in ("train", "validation")}


def test_the_rows_are_those_of_a_seed(new: str, finished: Finished, tiny: Tiny) -> None:
    one, again = (data_of(new, tiny("bert"), Replay(str(finished("Full")))) for _ in range(2))
    assert one.fingerprints == again.fingerprints
    alone = data_of(new, tiny("bert"), Replay(str(finished("Full")), validation=False))
    assert alone.fingerprints["train"] == one.fingerprints["train"]
    assert old_rows(alone, "validation") == []
    every = data_of(new, tiny("bert"), Replay(str(finished("Full")), share=0.9))
    assert len(old_rows(every)) == 83  # all there are


def test_balanced_rows(new: str, finished: Finished, tiny: Tiny) -> None:
    data = data_of(new, tiny("bert"), Replay(str(finished("Full")), share=0.5, by="balanced"))
    assert Counter(row["mood"] for row in old_rows(data)) == {"good": 20, "bad": 20}


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [([50, 50, 50], 9, [3, 3, 3]), ([2, 50, 50], 12, [2, 5, 5]), ([1, 3, 50], 20, [1, 3, 16]), ([4, 4], 8, [4, 4])],
)
def test_evenly_takes_as_many_of_each_as_there_are(sizes: list[int], count: int, expected: list[int]) -> None:
    classes = [name for name, size in zip("abc", sizes, strict=False) for _ in range(size)]
    chosen = evenly(classes, count, seed=3)
    assert len(set(chosen)) == count
    assert chosen == sorted(chosen)
    found = Counter(classes[i] for i in chosen)
    assert [found[name] for name in "abc"[: len(sizes)]] == expected
    assert evenly(classes, count, seed=3) == chosen


def test_hard_rows_are_those_of_least_confidence(finished: Finished, tiny: Tiny, new: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished("Full"), run)
    with pytest.raises(UserError, match=r"data\.replay\.by is hard, but .* has no predictions of train; `ftlit update` with"):
        old_rows(data_of(new, tiny("bert"), Replay(str(run), by="hard")))
    rows = [
        {"id": f"train:{i}", "label": "good", "prediction": "good", "scores": {"good": (i * 37 % 83) / 83, "bad": 0.0}}
        for i in range(83)
    ]
    (run / "predictions/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    order = hardest(str(run), [f"train:{i}" for i in range(83)])
    assert [i * 37 % 83 for i in order] == list(range(83))
    data = data_of(new, tiny("bert"), Replay(str(run), by="hard"))
    assert [row["row_id"] for row in old_rows(data)] == [f"earlier:train:{i}" for i in sorted(order[:10])]
    several = [{**row, "label": ["good"] if i else [], "scores": {"good": 0.9, "bad": 0.2}} for i, row in enumerate(rows[:2])]
    (run / "predictions/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in several))
    assert hardest(str(run), ["train:1", "train:0"]) == [1, 0]
    with pytest.raises(UserError, match="has no prediction of 'train:7'; remove the file"):
        hardest(str(run), ["train:7"])


def test_numbers_for_labels_mean_the_same(finished: Finished, tiny: Tiny, tmp_path: Path) -> None:
    """Rows whose labels are numbers of a list get the names of the earlier run beside them."""
    splits = {s: [{"text": r["text"], "label": int(r["label"] == "bad")} for r in sentiment_rows(n, n)] for s, n in
              {"train": 40, "validation": 20}.items()}  # fmt: skip
    data = TextClassificationData(
        dataset=write_splits(tmp_path / "numbered", splits), backbone=tiny("bert"), label_names=["good", "bad"],
        replay=Replay(str(finished("Full"))),
    )  # fmt: skip
    rows = data.rows["train"].to_list()
    assert [data.reference(row) for row in rows[:40]] == [row["label"] for row in sentiment_rows(40, 40)]
    data.setup("fit")
    labels = data.encoded["train"]["labels"][:]
    assert [data.label_names[i] for i in labels] == [data.reference(row) for row in rows]
    assert len(rows) == 50


def test_training_knows_them_and_resume_is_exact(
    new: str, finished: Finished, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    columns = {"data__text": "said", "data__label": "mood", "data__label_names": "[bad, good, odd]"}
    replay = {"data__replay": "Replay", "data__replay__run": finished("Full"), "data__replay__share": 0.3}
    given = {"model__backbone": tiny("bert"), "data__dataset": new, **columns, **replay}
    run_dir, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patch:
        keep_snapshots(patch, run_dir, tmp_path / "at")
        fitted(run_dir, "TextClassification", **given, save_every_n_steps=3, test_after_fit="true")
    assert "among them, random: 17 of 83 in train, 9 of 31 in validation" in capsys.readouterr().out
    run_dir.rename(whole)
    record = json.loads((whole / "run.json").read_text())
    assert record["data"]["replay"]["rows"] == {"train": 17, "validation": 9}
    assert record["data"]["replay"]["run"] == str(finished("Full"))
    assert record["data"]["splits"]["train"]["rows"] == 57
    first = sorted((tmp_path / "at").iterdir())[0]
    shutil.copytree(first, run_dir)
    main(["fit", "--resume", "--run_dir", str(run_dir)])
    assert differences(final_state(whole), final_state(run_dir)) == []
    predicted = [json.loads(line)["id"] for line in (whole / "predictions/validation.jsonl").read_text().splitlines()]
    assert sum(name.startswith("earlier:validation:") for name in predicted) == 9
    shutil.rmtree(run_dir)
    shutil.copytree(first, run_dir)
    error = refusal(["fit", "--resume", "--run_dir", str(run_dir), "--data.replay.share=0.5"], capsys)
    assert "the order of its examples has changed: the training data was" in error


def test_a_share_of_train_becomes_test(tiny: Tiny, tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "alone", {"train": sentiment_rows(50, 4)})
    data = TextClassificationData(dataset=folder, backbone=tiny("bert"), test_share=0.2)
    ids = {split: set(data.rows[split]["row_id"][:]) for split in data.rows}
    assert {split: len(rows) for split, rows in ids.items()} == {"train": 36, "validation": 4, "test": 10}
    assert len(set.union(*ids.values())) == 50


# What does not fit


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label_names": ["good", "odd"]}, r"has the label 'bad', which these data do not know; set data\.label_names: "
         r"\['bad', 'good', 'odd'\]"),
        ({"text_pair": "said2"}, r"do not have the same columns: only one of them has data\.text_pair"),
    ],
    ids=["label", "columns"],
)  # fmt: skip
def test_other_labels_and_columns(options: Any, said: str, new: str, finished: Finished, tiny: Tiny, tmp_path: Path) -> None:
    splits = {}
    for file in Path(new).glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        splits[file.stem] = [{**row, "said2": row["said"]} for row in rows if row["mood"] != "bad"]
    with pytest.raises(UserError, match=said):
        old_rows(data_of(write_splits(tmp_path / "x", splits), tiny("bert"), Replay(str(finished("Full"))), **options))


def test_another_task_and_no_run(new: str, finished: Finished, tiny: Tiny, grades: str, tmp_path: Path) -> None:
    run = str(finished("Full"))
    data = TextRegressionData(dataset=grades, backbone=tiny("bert"), label="score", replay=Replay(run))
    with pytest.raises(
        UserError, match=r"was trained on TextClassificationData, and these data are TextRegressionData; choose"
    ):
        _ = data.rows["train"]
    with pytest.raises(UserError, match=r"data\.replay\.run 'nowhere' holds no finished run"):
        old_rows(data_of(new, tiny("bert"), Replay("nowhere")))
    shutil.copytree(run, tmp_path / "half")
    record = json.loads((tmp_path / "half/run.json").read_text())
    (tmp_path / "half/run.json").write_text(json.dumps({**record, "status": "running"}))
    with pytest.raises(UserError, match=r"is a run that has not finished: run\.json says running; finish it with --resume"):
        old_rows(data_of(new, tiny("bert"), Replay(str(tmp_path / "half"))))
    with pytest.raises(UserError, match=r"data\.replay\.share must be above 0 and below 1, got 1"):
        Replay(run, share=1)

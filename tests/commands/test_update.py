"""Training on with new data: the config, both models on both tests, the verdict in planted cases, the page and the lineage."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ftlit
from ftlit.__main__ import main
from ftlit.commands.update.command import predict_train
from ftlit.commands.update.comparison import Compared, Side, check_test, opened, repeated, with_labels
from ftlit.commands.update.lineage import drawn, lineage
from ftlit.commands.update.plan import Plan, given_changes, new_config, union
from ftlit.commands.update.verdict import judged
from ftlit.data import TextClassificationData
from ftlit.errors import UserError
from ftlit.runs.files import BEST
from ftlit.util.settings import value_at
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows, write_splits
from tests.support.small import logits_of, ragged_batch

Finished = Callable[[str], Path]
FEW = ["--set", "trainer.max_epochs=1", "--set", "model.optimizer.lr=0.005"]


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> str:
    """New rows, a quarter of them with a label that the earlier run has not seen."""
    splits = {}
    for split, (count, seed) in {"train": (60, 11), "validation": (20, 12), "test": (30, 13)}.items():
        odd = {"text": "word7 word8 word9", "label": "odd"}
        splits[split] = [odd if i % 4 == 0 else row for i, row in enumerate(sentiment_rows(count, seed))]
    return write_splits(tmp_path_factory.mktemp("new"), splits)


@pytest.fixture(scope="module")
def old(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that tests may write to."""
    return shutil.copytree(finished("Full"), tmp_path_factory.mktemp("runs") / "old")


@pytest.fixture(scope="module")
def updated(old: Path, new: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of an update with a new label."""
    folder = tmp_path_factory.mktemp("updates") / "updated"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        main(["update", "--run", str(old), "--data", new, "--output", str(folder), "--keep", "L2SP", "--by", "balanced", *FEW])
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "insight/update/update.json").read_text())


def test_the_new_run_follows_the_old_one(updated: Path, old: Path, new: str) -> None:
    config, record = (ftlit.open_run(updated).config, ftlit.open_run(updated).record)
    expected = {
        **{"model.init_from": str(old), "model.keep.class_path": "ftlit.optimization.keep.L2SP", "data.dataset": new},
        **{"data.label_names": ["bad", "good", "odd"], "data.replay.run": str(old), "data.replay.by": "balanced"},
        **{"data.replay.share": 0.2, "trainer.max_epochs": 1, "model.optimizer.lr": 0.005, "test_after_fit": True},
        **{"data.test_share": None, "model.backbone": value_at(ftlit.open_run(old).config, "model.backbone")},
    }
    assert {key: value_at(config, key) for key in expected} == expected
    assert record["data"]["replay"]["rows"] == {"train": 15, "validation": 5}
    started = ftlit.open_run(old).record["started"]
    assert record["parents"] == [{"run": str(old), "as": ["init_from", "replay"], "started": started}]


def test_both_models_are_measured_on_both_tests(updated: Path, old: Path, new: str, sentiment: str) -> None:
    found = {side["place"]: side for side in report_of(updated)["sides"]}
    for place, source in {"old": sentiment, "new": new}.items():
        rows = [json.loads(line) for line in (Path(source) / "test.jsonl").read_text().splitlines()]
        right = {}
        for name, run in {"old": old, "new": updated}.items():
            said = ftlit.load(run)([row["text"] for row in rows])
            right[name] = [answer["prediction"] == row["label"] for answer, row in zip(said, rows, strict=True)]
            assert found[place][name] == pytest.approx(sum(right[name]) / len(rows))
        pairs = list(zip(right["old"], right["new"], strict=True))
        assert found[place]["turned"] == [pairs.count((True, False)), pairs.count((False, True))]
        assert found[place]["examples"] == len(rows)
        assert sum(count for count, _, _ in found[place]["labels"].values()) == len(rows)
    assert found["new"]["labels"]["odd"][:2] == [8, 0]  # which the old model cannot know
    assert found["new"]["new"] == pytest.approx(ftlit.open_run(updated).results["test"]["accuracy"])
    low, high = found["new"]["interval"]
    assert low <= found["new"]["new"] - found["new"]["old"] <= high


def test_the_old_model_never_answers_with_a_label_that_it_does_not_know(updated: Path, old: Path) -> None:
    models, data = opened(old, updated)
    assert {place: found.label_names for place, found in data.items()} == {place: ["bad", "good", "odd"] for place in data}
    plain, batch = ftlit.load(old).model, ragged_batch()
    extended = logits_of(models["old"], batch)
    assert torch.equal(extended.softmax(-1)[:, 2], torch.zeros(4))
    torch.testing.assert_close(extended[:, :2], logits_of(plain, batch))
    other = with_labels(old / BEST, old, ["odd", "good", "bad"])
    torch.testing.assert_close(logits_of(other, batch)[:, [2, 1]], logits_of(plain, batch))


def test_test_rows_that_a_model_was_trained_on_are_counted(updated: Path, old: Path, new: str, sentiment: str) -> None:
    _, data = opened(old, updated)
    texts = {
        (source, split): [json.loads(line)["text"] for line in (Path(source) / f"{split}.jsonl").read_text().splitlines()]
        for source in (sentiment, new) for split in ("train", "test")
    }  # fmt: skip
    mixed = data["new"].rows["train"]["text"][:]
    assert len(mixed) == 75
    exact = {"old": sum(text in texts[sentiment, "train"] for text in texts[new, "test"]),
             "new": sum(text in mixed for text in texts[sentiment, "test"])}  # fmt: skip
    found = report_of(updated)["repeated"]
    assert found.keys() == exact.keys()
    assert all(found[place] >= exact[place] for place in exact)
    some = data["old"].rows["test"].select(range(3))
    data["new"].rows._used["train"] = some  # type: ignore[index]
    assert repeated(data)["new"] == 3


def test_the_page_says_it(updated: Path) -> None:
    page, summary = ((updated / f"insight/update/update.{kind}").read_text() for kind in ("html", "md"))
    verdict = report_of(updated)["verdict"]
    for text in (page, summary):
        assert ("is accepted" if verdict["accepted"] else "is not accepted") in text
        assert "the penalty L2SP" in text
        assert "20% rows of it, balanced" in text
    assert "<svg" in page


def test_the_history_is_drawn(updated: Path, old: Path, new: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["history", str(updated)])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(str(updated))
    assert ("not accepted" in first) != report_of(updated)["verdict"]["accepted"]
    assert second.startswith(f"└─ init_from, replay: {old}  20")
    main(["history", str(updated), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [parent["run"] for parent in found["parents"]] == [str(old)]
    assert found["test"] == ftlit.open_run(updated).results["test"]["accuracy"]
    assert ftlit.history(updated) == found
    moved = tmp_path / "elsewhere"
    shutil.copytree(updated, moved / "new")
    record = json.loads((moved / "new/run.json").read_text())
    parent = {"run": "gone/first", "as": ["init_from"], "started": record["parents"][0]["started"]}
    other = {"run": "gone/second", "as": ["teacher"], "started": "2020-01-01T00:00:00Z"}
    (moved / "new/run.json").write_text(json.dumps({**record, "parents": [parent, other]}))
    shutil.copytree(old, moved / "first")  # beside it, as before
    lines = drawn(lineage(moved / "new")).splitlines()
    assert lines[1].startswith("├─ init_from: gone/first  20")
    assert lines[2] == "└─ teacher: gone/second  2020-01-01  not found"
    assert "does not exist" in refusal(["history", str(tmp_path / "none")], capsys)


def test_a_harmful_update_is_not_accepted(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The new rows say the opposite of the old ones."""
    turned = {"good": "bad", "bad": "good"}
    rows = [{**row, "label": turned[row["label"]]} for row in sentiment_rows(120, 20)]
    file = tmp_path / "turned.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["update", "--run", str(old), "--data", str(file), "--output", str(tmp_path / "worse"), "--replay", "0"]
    options = ["--set", "trainer.max_epochs=4", "--set", "model.optimizer.lr=0.02"]
    with pytest.raises(SystemExit) as left:
        main([*given, *options, "--gate"])
    assert left.value.code == 3
    said = capsys.readouterr().out
    assert "The new model is not accepted." in said
    assert "more than the tolerance of 0.01" in said
    assert report_of(tmp_path / "worse")["sides"][1]["examples"] == 24  # a fifth of the file
    before = (tmp_path / "worse" / BEST).stat().st_mtime_ns
    main([*given, *options, "--resume"])  # has finished already: only measured again, and 0 without --gate
    assert (tmp_path / "worse" / BEST).stat().st_mtime_ns == before
    assert value_at(ftlit.open_run(tmp_path / "worse").config, "data.replay") is None


# The verdict


BETTER, KEPT = (0.70, 0.80, (-0.14, -0.06)), (0.900, 0.910, (-0.020, 0.001))  # old, new, interval of the loss


def side(place: str, old: float, new: float, loss: tuple[float, float] | None) -> Side:
    return Side(place, old, new, loss and (-loss[1], -loss[0]), old - new, loss, 500, (10, 5), {})


@pytest.mark.parametrize(
    ("on_old", "on_new", "accepted", "doubts"),
    [
        ((0.900, 0.898, (-0.004, 0.008)), BETTER, True, []),
        ((0.900, 0.898, (-0.010, 0.014)), BETTER, True, ["old test data (500 examples), the loss may be as large as 0.0140"]),
        ((0.900, 0.870, (0.012, 0.048)), BETTER, False, []),
        ((0.900, 0.885, (0.002, 0.028)), BETTER, False, ["old test data (500 examples), the loss may be as small as 0.0020"]),
        (KEPT, (0.70, 0.69, (-0.01, 0.03)), False, ["new test data (500 examples), the loss may be as small as -0.0100"]),
        (KEPT, (0.70, 0.71, (-0.03, 0.01)), True, ["new test data (500 examples), the loss may be as large as 0.0100"]),
        ((0.900, 0.900, None), (0.70, 0.70, None), True, ["old test data", "new test data"]),
        ((0.900, float("nan"), None), BETTER, False, ["old test data"]),
    ],
)
def test_planted_cases(on_old: Any, on_new: Any, accepted: bool, doubts: list[str]) -> None:
    sides = [side("old", *on_old), side("new", *on_new)]
    found = judged(Compared("accuracy", True, True, sides, {}), 0.01)
    assert found.accepted is accepted
    assert len(found.reasons) == 2
    assert len(found.uncertain) == len(doubts)
    assert all(part in said for part, said in zip(doubts, found.uncertain, strict=True))


# The config, and what is refused


def test_options_of_training_follow_the_plan(updated: Path, sentiment: str) -> None:
    plan = Plan(str(updated), sentiment, "runs/z", 0.0, "random", "distil", [], 0.2)
    config = new_config(plan)
    assert value_at(config, "model.teacher") == str(updated)
    assert value_at(config, "model.loss.class_path") == "ftlit.losses.Distillation"
    assert value_at(config, "model.keep") is None  # what the earlier update did is its own
    assert value_at(config, "data.replay") is None
    assert value_at(config, "data.label_names") == ["bad", "good", "odd"]


def test_labels_of_both() -> None:
    assert union(["bad", "good"], ["good", "odd", "bad"]) == ["bad", "good", "odd"]
    assert union(["bad", "good"], ["0", "1"]) == ["bad", "good"]  # numbers of the old labels
    assert union(["0", "1"], ["0", "1", "2"]) == ["0", "1", "2"]
    assert given_changes(["trainer.max_epochs=2", "--data.text=said", "model.head=null"]) == {
        "trainer.max_epochs": 2, "data.text": "said", "model.head": None,
    }  # fmt: skip


def test_hard_rows_are_found_by_predictions_of_train(old: Path, sentiment: str) -> None:
    predict_train(old)
    rows = [json.loads(line) for line in (old / "predictions/train.jsonl").read_text().splitlines()]
    source = [json.loads(line) for line in (Path(sentiment) / "train.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"train:{i}" for i in range(len(source))]
    said = ftlit.load(old)([row["text"] for row in source], scores=True)
    assert [row["scores"] for row in rows] == [pytest.approx(answer["scores"], abs=1e-6) for answer in said]
    assert [row["label"] for row in rows] == [row["label"] for row in source]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "nowhere.csv"], "data.dataset 'nowhere.csv' does not exist"),
        (["--replay", "1"], "--replay must be at least 0 and below 1, got 1"),
        (["--tolerance=-1"], "--tolerance must be at least 0, got -1"),
        (["--set", "epochs"], "--set 'epochs' should be an option of fit with its value, such as trainer.max_epochs=2"),
        (["--set", "trainer.max_epoch=2"], "there is no option"),
        (["--by", "hardest"], "expected 'random', 'hard', 'balanced'"),
    ],
    ids=["data", "replay", "tolerance", "set", "unknown", "by"],
)
def test_what_is_wrong_is_said(options: list[str], said: str, old: Path, new: str, tmp_path: Path, capsys: Any) -> None:
    given = [
        "update",
        "--run",
        str(old),
        "--output",
        str(tmp_path / "x"),
        *(["--data", new] if "--data" not in options else []),
    ]
    assert said in refusal([*given, *options], capsys)
    assert not (tmp_path / "x").exists()


def test_runs_that_cannot_be_updated(old: Path, new: str, tmp_path: Path, capsys: Any) -> None:
    given = ["update", "--data", new, "--output", str(tmp_path / "x")]
    assert "is the earlier run itself; choose another folder" in refusal(
        [*given[:3], "--run", str(old), "--output", str(old)], capsys
    )
    half = shutil.copytree(old, tmp_path / "half")
    record = json.loads((half / "run.json").read_text())
    (half / "run.json").write_text(json.dumps({**record, "status": "preempted"}))
    assert "is not finished: run.json says preempted" in refusal([*given, "--run", str(half)], capsys)


def test_a_run_without_a_test_split(tiny: Callable[[str], str], sentiment: str) -> None:
    data = TextClassificationData(dataset=sentiment, backbone=tiny("bert"), splits={"test": None})
    with pytest.raises(UserError, match=r"the old data .* have no test split, on which what the new model forgets is measured"):
        check_test(data, "old")

"""The command that shows where a run fails, on runs of every task and on predictions whose errors are known."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.runs.reading import RunFolder
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows, sentiment_splits, write_splits
from tests.support.every_task import CASES, Case, run_of
from tests.support.run_folders import write_run
from tests.support.runs import fitted

Rows = list[dict[str, Any]]


def rewritten(run: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the predictions of test."""
    path = run / "predictions/test.jsonl"
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def forum(tiny: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is wrong about half of the long texts of a forum, and nowhere else; the source is a column of the data."""
    root, rng = tmp_path_factory.mktemp("forum"), random.Random(0)
    splits = sentiment_splits() | {"test": sentiment_rows(1200, 7)}
    for rows in splits.values():
        for row in rows:
            row["source"] = rng.choice(["forum", "news", "mail"])
    given = {"model__backbone": tiny("bert"), "data__dataset": write_splits(root / "data", splits)}
    run = fitted(root / "run", "TextClassification", test_after_fit="true", **given)
    source = {f"test:{i}": row["source"] for i, row in enumerate(splits["test"])}

    def change(row: dict[str, Any]) -> dict[str, Any]:
        fails = source[row["id"]] == "forum" and len(row["text"]) > 100 and rng.random() < 0.5
        said = {"good": "bad", "bad": "good"}[row["label"]] if fails else row["label"]
        other = "bad" if said == "good" else "good"
        return {**row, "prediction": said, "score": 0.9, "scores": {said: 0.9, other: 0.1}}

    rewritten(run, change)
    return run


def test_a_planted_slice_of_a_column_is_found(forum: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    main(["errors", "--run", str(forum), "--output", str(out)])
    printed = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        *("errors.html", "errors.md", "errors.json", "slices.csv", "label_errors.jsonl")
    }
    record = json.loads((out / "errors.json").read_text())
    names = [one["slice"] for one in record["found"] if one["confirmed"]]
    assert names
    assert all("source: forum" in name for name in names[:1])
    assert re.search(r"length: > \d+", names[0])
    assert names[0] in printed
    assert record["measure"] == "error rate"
    rows = RunFolder(forum).prediction_rows("test")
    assert record["mean"] == pytest.approx(sum(row["label"] != row["prediction"] for row in rows) / len(rows))
    page = (out / "errors.html").read_text()
    wrong = next(row for row in rows if row["label"] != row["prediction"])
    assert "Confusion matrix" in page
    assert wrong["text"][:60] in page
    assert "source: forum" in (out / "slices.csv").read_text()


def test_its_wrong_predictions_are_suspected_labels(forum: Path) -> None:
    """The model is sure of all, so that each of its errors may be one of the label."""
    found = ftlit.analyse_errors(forum)
    rows = {row["id"]: row for row in RunFolder(forum).prediction_rows("test")}
    assert found.suspected is not None
    assert set(found.suspected["id"]) == {id_ for id_, row in rows.items() if row["label"] != row["prediction"]}
    suggested = zip(found.suspected["id"], found.suspected["suggested"], strict=True)
    assert all(rows[id_]["prediction"] == said for id_, said in suggested)


def test_data_that_have_changed_are_not_read(forum: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(forum, run)
    record = json.loads((run / "run.json").read_text())
    record["data"]["splits"]["test"]["fingerprint"] = "another"
    (run / "run.json").write_text(json.dumps(record))
    found = ftlit.analyse_errors(run)
    assert "rows of test are others than those that the run has predicted" in found.notes[0]
    assert not found.slices["property"].eq("source").any()
    assert found.slices["property"].eq("length").any()


def labelled(count: int, wrong: Callable[[int], bool], first: int = 0) -> Rows:
    """Predictions of a labelled test split, some of them wrong."""
    rows = []
    for i in range(first, first + count):
        label = "good" if i % 3 else "bad"
        said = label if not wrong(i) else ("bad" if label == "good" else "good")
        scores = {"good": 0.8 if said == "good" else 0.2, "bad": 0.8 if said == "bad" else 0.2}
        text = f"text number {i} is <b>"
        rows.append({"id": f"test:{i}", "text": text, "label": label, "prediction": said, "scores": scores})
    return rows


def test_runs_of_seeds_are_averaged_and_those_of_folds_joined(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", labelled(60, lambda i: i == 4))
    two = write_run(tmp_path / "two", labelled(60, lambda i: i in (4, 5)))
    fold = write_run(tmp_path / "fold", labelled(40, lambda i: False, first=60))
    found = ftlit.analyse_errors([one, two, fold])
    assert len(found.examples) == 100
    assert found.examples.losses[[4, 5, 6, 99]].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert found.suspected is not None
    assert found.suspected["id"].tolist() == ["test:4"]  # the other label of test:5 has a mean probability of 0.5 alone
    assert found.suspected["suggested_probability"][0] == pytest.approx(0.8)
    assert "The data of the run cannot be read" in found.notes[0]


def test_runs_with_other_right_answers_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", labelled(30, lambda i: False))
    rows = labelled(30, lambda i: False)
    rows[3]["label"] = "good"
    two = write_run(tmp_path / "two", rows)
    with pytest.raises(UserError, match=r"example 'test:3' has another right answer in .*two"):
        ftlit.analyse_errors([one, two])
    other = write_run(tmp_path / "other", [{"id": "a", "label": 1, "prediction": 2}], evidence="values", task="TextRegression")
    with pytest.raises(UserError, match="runs of the tasks TextClassification and TextRegression"):
        ftlit.analyse_errors([one, other])


def test_documents_are_kept_together(tmp_path: Path) -> None:
    rows = [{**row, "group": i // 5} for i, row in enumerate(labelled(60, lambda i: i < 10))]
    found = ftlit.analyse_errors(write_run(tmp_path / "run", rows))
    assert found.examples.groups is not None
    assert len(set(found.examples.groups)) == 12


def test_text_of_an_input_is_escaped(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", labelled(60, lambda i: i < 10))
    main(["errors", "--run", run])
    page = (tmp_path / "run/insight/errors/errors.html").read_text()
    assert "text number 3 is &lt;b&gt;" in page
    assert "<b>" not in page


def test_a_report_is_replaced_only_if_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", labelled(60, lambda i: i < 10))
    main(["errors", "--run", run])
    assert "is an earlier report of errors; replace it with --overwrite" in refusal(["errors", "--run", run], capsys)
    main(["errors", "--run", run, "--overwrite"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--split", "train"], "--split must be test or validation, got 'train'"),
        (["--split", "validation"], "has no predictions of validation; `python -m ftlit validate --config"),
        (["--predicates", "4"], "--predicates must be from 1 to 3, got 4"),
        (["--seed", "-1"], "--seed must be from 0 to 4294967295, got -1"),
    ],
)
def test_mistakes(options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", labelled(20, lambda i: i < 3))
    assert said in refusal(["errors", "--run", run, *options], capsys)
    assert not (tmp_path / "run/insight").exists()


def test_a_damaged_file_and_a_task_without_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(write_run(tmp_path / "run", labelled(20, lambda i: i < 3)))
    with (run / "predictions/test.jsonl").open("a") as file:
        file.write('{"id": "test:21", "te')
    assert "test.jsonl is damaged: line 21 is not valid JSON" in refusal(["errors", "--run", str(run)], capsys)
    assert not list((run / "insight").glob("*"))
    strange = write_run(tmp_path / "strange", labelled(20, lambda i: False), evidence=None, task="Stars")
    said = refusal(["errors", "--run", strange], capsys)
    assert "the task Stars declares no kind of evidence, so it is not known which" in said


def test_a_score_of_texts_is_better_if_higher(tmp_path: Path) -> None:
    rows = [
        {"id": f"test:{i}", "source": "a b c " * (1 + i % 2 * 20), "label": "a b c", "prediction": "a b c" if i % 2 else "x y"}
        for i in range(80)
    ]
    about = {"evidence": "texts", "task": "Seq2Seq", "higher_is_better": {"chrf": True, "loss": False}, "monitor": "val/loss"}
    run = write_run(tmp_path / "run", rows, results={"test": {"loss": 1.0, "chrf": 50.0}}, **about)
    main(["errors", "--run", run])
    record = json.loads((tmp_path / "run/insight/errors/errors.json").read_text())
    assert (record["measure"], record["higher_is_better"], record["mean"]) == ("chrf", True, pytest.approx(50, abs=1))
    found = [one for one in record["found"] if one["confirmed"]]
    assert [one["slice"] for one in found] == ["length: 6 characters"]
    assert found[0]["difference"] < 0
    assert found[0]["low"] <= found[0]["difference"] <= found[0]["high"] < 0


def test_language_models_have_losses_of_tokens(tmp_path: Path) -> None:
    rows = [{"id": f"test:{i}", "text": f"w{i}", "label": "", "prediction": 1.0 + i % 2, "targets": 4} for i in range(40)]
    about = {"evidence": "tokens", "task": "MaskedLM", "higher_is_better": {"perplexity": False}}
    run = write_run(tmp_path / "run", rows, results={"test": {"perplexity": 4.0}}, **about)
    found = ftlit.analyse_errors(run)
    assert found.examples.measure.name == "negative log-likelihood"
    assert found.examples.losses[:2].tolist() == [1.0, 2.0]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_task(case: Case, tmp_path: Path) -> None:
    run = run_of(case, tmp_path)
    main(["errors", "--run", str(run), "--split", "validation"])
    record = json.loads((run / "insight/errors/errors.json").read_text())
    assert record["examples"] == len(RunFolder(run).prediction_rows("validation"))
    assert record["notes"] == []
    results = RunFolder(run).results["validation"]
    if case[0] in ("TextClassification", "RelationExtraction", "MultipleChoice") and "accuracy" in results:
        assert record["mean"] == pytest.approx(1 - results["accuracy"], abs=1e-6)
    assert (record["suspected_labels"] is not None) == (case[0] in ("TextClassification", "RelationExtraction"))

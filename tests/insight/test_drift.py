"""The command `ftlit drift` on finished runs: its report, what it says of bad input, and other tasks."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ftlit
from ftlit.__main__ import main
from ftlit.insight.drift import command
from ftlit.insight.drift.measure import Drift
from ftlit.insight.drift.report import shown
from ftlit.metrics.evidence.labels import is_right
from tests.support.command_line import refusal
from tests.support.data import GOOD, NEUTRAL, sentiment_rows
from tests.support.every_task import CASES, LORA, Case, run_of
from tests.support.runs import fitted
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]
HOSTILE = "<script>alert(1)</script> | `x` [a](javascript:alert(2)) <img src=x onerror=alert(3)> \u202edlrow \x07 </td></table>"


@pytest.fixture(scope="module")
def run(finished: Callable[..., Path]) -> Path:
    """A run that gives all texts the same label; tests only read it."""
    return finished("Full")


@pytest.fixture(scope="module")
def learned(tiny: Tiny, sentiment: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned to tell good texts from bad ones in four of five cases."""
    given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "model__optimizer__init_args__lr": 0.003}
    steps = {"trainer__max_epochs": 10, "trainer__check_val_every_n_epoch": 10, "patience": "null"}
    folder = tmp_path_factory.mktemp("drift") / "run"
    return fitted(folder, "TextClassification", test_after_fit="true", **given, **steps)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests are fast."""
    monkeypatch.setattr("ftlit.insight.drift.permutation.DRAWS", 199)
    monkeypatch.setattr("ftlit.insight.drift.accuracy.DRAWS", 50)
    monkeypatch.setattr("ftlit.insight.drift.prior.DRAWS", 100)


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def of(run: Path, input: str, output: Path, **options: Any) -> Drift:
    return command.drift(str(run), input, str(output), device="cpu", **options)


@pytest.mark.slow
def test_new_rows_of_the_same_kind(learned: Path, tmp_path: Path) -> None:
    """No drift; the labels give the true accuracy, which the intervals of the estimates contain."""
    found = of(learned, written(tmp_path / "new.jsonl", sentiment_rows(120, 9)), tmp_path / "out")
    assert not found.drifted
    assert list(found.table.index) == [
        *("length in words", "length in tokens", "words that train lacks", "scripts", "unknown tokens", "embeddings"),
        "predicted labels",
    ]
    assert found.rows == {"train": (83, 83), "reference": (31, 31), "new": (120, 120)}
    accuracy, ends = found.truth["accuracy"]
    predictions = ftlit.load(learned, device="cpu")(sentiment_rows(120, 9))
    right = [is_right({**row, "label": own["label"]}) for row, own in zip(predictions, sentiment_rows(120, 9), strict=True)]
    assert accuracy == pytest.approx(np.mean(right))
    assert ends is not None
    assert ends[0] <= accuracy <= ends[1]
    assert {one.method for one in found.accuracy} == {"ATC", "DoC"}
    assert all(one.interval[0] <= accuracy <= one.interval[1] for one in found.accuracy)
    assert found.held_out is not None
    assert found.held_out[0] == "validation"
    assert {shift.name for shift in found.shifts} > {"none", "words moved"}
    assert found.left_out == []
    again = of(learned, str(tmp_path / "new.jsonl"), tmp_path / "again")
    assert again.record() == found.record()
    assert (tmp_path / "again/drift.html").read_bytes() == (tmp_path / "out/drift.html").read_bytes()


def test_the_report(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts without labels that are longer, in other words and of one label only; from the command line, into the run."""
    run = Path(shutil.copytree(run, tmp_path / "run"))
    rng = np.random.default_rng(0)
    texts = [" ".join([*rng.choice(NEUTRAL, 30), rng.choice(GOOD), "unheard", "unheard"]) for _ in range(60)]
    (tmp_path / "new.txt").write_text("\n".join(texts))
    args = ["drift", "--run", str(run), "--input", str(tmp_path / "new.txt"), "--limit", "50", "--device", "cpu"]
    main(args)
    said = capsys.readouterr().out
    assert "Drift: 7 tests on the new rows and validation find differences in length in words" in said
    assert "The expected accuracy is" in said
    folder = run / "insight/drift"
    assert sorted(file.name for file in folder.iterdir()) == ["drift.html", "drift.json", "drift.md"]
    record = json.loads((folder / "drift.json").read_text())
    assert record["drifted"] is True
    assert record["rows"] == {"train": [50, 83], "reference": [31, 31], "new": [50, 60]}
    differing = {test["name"] for test in record["tests"] if test["differs"]}
    assert {"length in words", "length in tokens", "words that train lacks", "unknown tokens", "embeddings"} <= differing
    assert record["terms"]["words"][0]["term"] == "unheard"
    assert record["left_out"][0] == "The new rows have no right answers: there is no column 'label'."
    page, summary = (folder / "drift.html").read_text(), (folder / "drift.md").read_text()
    assert page.count("<svg") == 3
    assert "At most 50 rows of each were drawn at random (--limit, --seed 0)." in page
    assert len(page) < 1_000_000
    assert "**Shares of the labels**" in summary
    assert "is an earlier report of drift; replace it with --overwrite" in refusal(args, capsys)
    main([*args, "--overwrite", "--test", "mmd", "--reference", "test"])
    record = json.loads((folder / "drift.json").read_text())
    assert record["settings"] == {"reference": "test", "test": "mmd", "limit": 50, "seed": 0}
    assert any(test["measure"].endswith("(MMD)") and test["differs"] for test in record["tests"])


def test_rows_of_train_as_reference(run: Path, tmp_path: Path) -> None:
    """They are others than those whose words are known, and the labels are those of validation."""
    new = written(tmp_path / "new.jsonl", sentiment_rows(40, 9))
    found = of(run, new, tmp_path / "out", reference="train")
    assert found.rows["train"] == (42, 83)
    assert found.rows["reference"] == (41, 83)
    assert found.held_out is not None
    assert found.held_out[0] == "validation"


def test_hostile_texts_and_labels_are_shown_and_not_run(run: Path, tmp_path: Path) -> None:
    rows = [{"text": f"{HOSTILE} {row['text']}", "label": HOSTILE} for row in sentiment_rows(25, 3)]
    found = of(run, written(tmp_path / "<b>new.jsonl", rows), tmp_path / "out")
    assert found.truth == {}
    page, summary = ((tmp_path / "out" / name).read_text() for name in ("drift.html", "drift.md"))
    for text in (page, summary):
        assert "alert(1)" in text
        assert "<script" not in text.replace("<script>//", "")
        assert "<img" not in text
        assert "\u202e" not in text
        assert "\x07" not in text
        assert "<b>new" not in text
    assert "[a](" not in summary
    cells = [re.sub(r"\\\|", "", line).count("|") for line in summary.splitlines() if "alert" in line and line.startswith("|")]
    assert cells
    assert set(cells) <= {4, 5}  # of three columns, or of four


def test_texts_in_tables() -> None:
    assert shown("a\n b\tc") == "a b c"
    assert shown("x" * 500) == "x" * 300 + " …"
    assert shown("a\u202eb\x00") == "a\ufffdb\ufffd"
    assert len(shown("y " * 10**6)) < 310


def test_labels_that_the_run_does_not_know(run: Path, tmp_path: Path) -> None:
    rows = [{**row, "label": "angry"} for row in sentiment_rows(25, 3)]
    found = of(run, written(tmp_path / "new.jsonl", rows), tmp_path / "out")
    assert found.truth == {}
    assert found.left_out[0] == (
        "The right answers of the new rows are not used, since one does not fit the run: "
        "the label 'angry' is none of the run's."
    )
    assert found.left_out[1].startswith("The shares of the labels are not estimated")  # the run predicts one label only


@pytest.mark.slow
def test_several_labels_a_text(emotions: str, tiny: Tiny, tmp_path: Path) -> None:
    given = {"model__backbone": tiny("bert"), "data__dataset": emotions, "data__label": "labels", "model__multi_label": "true"}
    run = fitted(tmp_path / "run", "TextClassification", trainer__max_steps=30, **given)
    rows = [{"text": row["text"], "labels": [row["label"]]} for row in sentiment_rows(60, 5)]
    found = of(run, written(tmp_path / "new.jsonl", rows), tmp_path / "out")
    assert found.prior is not None
    assert [share.label for share in found.prior.shares] == ["bad", "good", "long"]
    assert {"f1_macro", "accuracy"} <= found.truth.keys()
    assert len(found.accuracy) == 2


# What is wrong


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    return refusal(["drift", *args], capsys).removeprefix("error: ").strip()


def test_bad_input(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    new = written(tmp_path / "new.jsonl", sentiment_rows(30, 3))
    given = ["--run", str(run), "--output", str(out)]
    assert "--input 'nowhere.csv' does not exist" in refused([*given, "--input", "nowhere.csv"], capsys)
    assert "--limit must be at least 20, got 3" in refused([*given, "--input", new, "--limit", "3"], capsys)
    assert "--seed must be from 0 to" in refused([*given, "--input", new, "--seed", "-1"], capsys)
    assert "reference" in refused([*given, "--input", new, "--reference", "dev"], capsys)
    assert "holds no run" in refused(["--run", str(tmp_path), "--input", new], capsys)
    few = written(tmp_path / "few.jsonl", sentiment_rows(3, 3))
    assert refused([*given, "--input", few], capsys) == f"--input {few!r} has 3 rows; a comparison needs at least 20"
    other = written(tmp_path / "other.jsonl", [{"sentence": "x"}] * 30)
    said = refused([*given, "--input", other], capsys)
    assert "line 1: there is no column 'text'; this run needs the column 'text'" in said
    (tmp_path / "new.xyz").write_text("x")
    assert "must end in one of" in refused([*given, "--input", str(tmp_path / "new.xyz")], capsys)
    assert not out.exists()
    assert not any(file.name.startswith(".out") for file in tmp_path.iterdir())


def test_missing_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    said = refused(["--run", str(tmp_path), "--input", "x.csv"], capsys)
    assert said == "ftlit drift needs SciPy and scikit-learn; install them with: pip install -e '.[insight]'"


def test_a_folder_that_is_no_report_stays(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    new = written(tmp_path / "new.jsonl", sentiment_rows(30, 3))
    args = ["--run", str(run), "--input", new, "--output", str(tmp_path), "--overwrite"]
    assert "is not empty and not a report of drift" in refused(args, capsys)
    assert (tmp_path / "mine.txt").read_text() == "mine"


# Other tasks


def inputs_of(run: Path) -> list[dict[str, Any]]:
    """Rows of train without their right answers."""
    data = ftlit.load(run, device="cpu").data
    names = data.input_columns().values()
    return [{name: row[name] for name in names} for row in data.rows["train"].select(range(24))]


@pytest.mark.parametrize("case", some_by_default([(case,) for case in CASES], chosen=[3]), ids=str)
@pytest.mark.slow
def test_every_task(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What applies is compared; what does not is left out with a sentence."""
    monkeypatch.setattr("ftlit.insight.drift.samples.LEAST_ROWS", 5)
    run = run_of(case, tmp_path, **LORA)
    rows = inputs_of(run)
    found = of(run, written(tmp_path / "new.jsonl", rows), tmp_path / "out")
    names = set(found.table.index)
    assert {"length in words", "length in tokens", "words that train lacks", "scripts", "embeddings"} <= names
    labelled = case[0] in ("TextClassification", "RelationExtraction")
    assert ("predicted labels" in names) == labelled == bool(found.accuracy) == bool(found.prior)
    assert ("predicted values" in names) == (case[0] == "TextRegression")
    assert any("does not label whole texts" in sentence for sentence in found.left_out) != labelled
    assert (tmp_path / "out/drift.html").stat().st_size < 10**6


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["TextRegression", "MultipleChoice", "TokenClassification", "QuestionAnswering", "RelationExtraction"]
)
def test_the_metric_of_other_tasks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the rows of validation, it is that of the run."""
    monkeypatch.setattr("ftlit.insight.drift.samples.LEAST_ROWS", 5)
    case = next(case for case in CASES if case[0] == name)
    run = run_of(case, tmp_path, **LORA)
    source = Path(ftlit.load(run, device="cpu").data.dataset)
    file = next(path for path in source.iterdir() if path.name.startswith("validation"))
    found = of(run, str(file), tmp_path / "out")
    results = ftlit.open_run(run).results["validation"]
    assert found.truth
    for metric, (value, _) in found.truth.items():
        assert value == pytest.approx(results[metric], abs=1e-3, nan_ok=True)
    assert all(test.p > 0.5 for test in found.tests)

"""A run is calibrated on validation alone, and predict, load, serve and exports use what was fitted."""

import csv
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score, log_loss
from transformers import pipeline

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.exports.compress.folders import Folders
from ftlit.exports.output.source import source_of
from ftlit.exports.predicting.predictor import Predictor
from ftlit.insight.calibration import command, fit
from ftlit.insight.calibration.fit import (
    Wishes,
    answer_limit,
    f1_thresholds,
    fit_isotonic,
    fit_map,
    fit_temperature,
    set_limit,
    temperature_interval,
)
from ftlit.metrics.calibration.decisions import Probabilities, Stated
from ftlit.metrics.calibration.maps import ScoreMap
from ftlit.runs.checkpoint import find_checkpoint
from ftlit.runs.folder import clear
from ftlit.util.files import write_json
from tests.metrics.test_calibration import any_labels, labelled, one_label, softmax
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows
from tests.support.every_task import CASES, run_of
from tests.support.serving import serving

TEXTS = [row["text"] for row in sentiment_rows(12, 7)]
KINDS = {"one": 0, "several": 2, "relations": 4, "choices": 6, "words": 8}  # positions in CASES
Run = Callable[[str], Path]


def known(count: int = 2000, seed: int = 0, too_sure: float = 2.0) -> Probabilities:
    values, right = one_label(count, seed, too_sure)
    return Probabilities(values, np.eye(3, dtype=bool)[right], np.arange(count), False, ["a", "b", "c"])


def known_of_several(count: int = 2000, seed: int = 0, too_sure: float = 2.0) -> Probabilities:
    values, true = any_labels(count, seed, too_sure)
    return Probabilities(values, true, np.arange(count), True, ["a", "b", "c"])


# Fits


@pytest.mark.parametrize("given", [known, known_of_several], ids=["one label", "several"])
@pytest.mark.parametrize("planted", [0.7, 1.0, 2.5])
def test_a_planted_temperature_is_found(given: Callable[..., Probabilities], planted: float) -> None:
    assert fit_temperature(given(5000, 1, planted)) == pytest.approx(planted, rel=0.08)


def test_the_temperature_has_the_smallest_loss() -> None:
    """Another optimizer finds the same on logits."""
    found = known(600)
    logits, right = np.log(found.values), found.true.argmax(1)
    best = minimize(lambda x: log_loss(right, softmax(logits / x[0])), [1.0], method="Nelder-Mead", options={"xatol": 1e-6})
    assert fit_temperature(found) == pytest.approx(best.x[0], rel=1e-4)


def test_the_interval_of_a_temperature_is_as_wide_as_the_temperature_varies() -> None:
    found = [known(300, seed) for seed in range(40)]
    fits = [fit_temperature(one) for one in found]
    ends = [temperature_interval(one, np.arange(300), fitted) for one, fitted in zip(found, fits, strict=True)]
    assert sum(low <= 2 <= high for low, high in ends) >= 35
    widths = [np.log(high / low) / (2 * 1.96) for low, high in ends]
    assert np.mean(widths) == pytest.approx(np.std(np.log(fits)), rel=0.3)
    few = known(30)
    again = np.repeat(np.arange(30), 10)
    repeated = Probabilities(few.values[again], few.true[again], few.owner[again], False, few.names)
    assert temperature_interval(repeated, np.arange(30), 2.0) == pytest.approx(temperature_interval(few, np.arange(30), 2.0))


def test_no_temperature_without_a_mistake() -> None:
    found = known(50)
    right = Probabilities(found.values, found.values == found.values.max(1, keepdims=True), found.owner, False, found.names)
    with pytest.raises(UserError, match="every answer on validation is right, so a temperature cannot be fitted"):
        fit_temperature(right)


def test_an_isotonic_map_is_that_of_scikit_learn() -> None:
    found = known(500)
    expected = IsotonicRegression(out_of_bounds="clip").fit(found.values.ravel(), found.true.ravel())
    new = np.linspace(0, 1, 200)
    assert np.interp(new, *fit_isotonic(found)) == pytest.approx(expected.predict(new))
    better = found.with_values(fit_map(found, "isotonic")(found.values, False))
    assert better.nll.mean() < found.nll.mean()
    assert better.brier.mean() < found.brier.mean()


def test_thresholds_have_the_best_f1_of_each_label() -> None:
    found = known_of_several(80)
    for i, (name, chosen) in enumerate(f1_thresholds(found).items()):
        scores, true = found.values[:, i], found.true[:, i]
        best = max(f1_score(true, scores >= limit) for limit in scores)
        assert f1_score(true, scores >= chosen) == pytest.approx(best), name
    never = Probabilities(found.values, np.zeros_like(found.true), found.owner, True, found.names)
    assert set(f1_thresholds(never).values()) == {0.5}
    tied = Probabilities(np.full((4, 1), 0.3), np.array([[True], [False], [True], [False]]), np.arange(4), True, ["a"])
    assert f1_thresholds(tied) == {"a": 0.15}, "equal scores are on the same side"


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_have_the_promised_coverage(coverage: float) -> None:
    """Over 1,000 splits of validation and test: within four binomial errors of what the theory says."""
    rng = np.random.default_rng(0)
    splits, size, new = 1000, 150, 200
    values, right = one_label(splits * (size + new), 3)
    scores = values[np.arange(len(right)), right].reshape(splits, size + new)
    hits = [(row[size:] >= set_limit(row[:size], coverage)).mean() for row in scores[rng.permutation(splits)]]
    exact = math.ceil((size + 1) * coverage) / (size + 1)
    spread = math.sqrt(exact * (1 - exact) * (1 / new + 1 / (size + 2)) / splits)
    assert exact >= coverage
    assert np.mean(hits) == pytest.approx(exact, abs=4 * spread)


def test_few_rows_promise_nothing_but_all_labels() -> None:
    assert set_limit(np.array([0.5, 0.9, 0.8]), 0.9) == 0
    assert set_limit(np.array([0.5, 0.9, 0.8]), 0.5) == pytest.approx(0.8, rel=2e-5)


@pytest.mark.parametrize(
    ("share", "error", "limit"),
    [
        (0.2, None, 0.9),
        (0.4, None, 0.8),
        (0.6, None, 0.8),
        (1.0, None, 0.5),
        (None, 0, 0.9),
        (None, 0.25, 0.6),
        (None, 0.4, 0.5),
    ],
)
def test_the_limit_of_answers(share: float | None, error: float | None, limit: float) -> None:
    """Equal scores are on the same side."""
    answers = Stated(np.array([0.9, 0.8, 0.8, 0.6, 0.5]), np.array([True, True, False, True, False]), np.arange(5))
    found = answer_limit(answers, share, error)
    assert found == pytest.approx(limit, rel=2e-5)
    assert found < limit


def test_an_error_that_cannot_be_met() -> None:
    answers = Stated(np.full(5, 0.5), np.array([True, True, False, True, False]), np.arange(5))
    with pytest.raises(
        UserError, match=r"--max_error 0.1 cannot be met: on validation, a share of 0.4 of the surest answers is wrong"
    ):
        answer_limit(answers, None, 0.1)


def test_sets_do_not_depend_on_the_map() -> None:
    values, right = one_label(400)
    rows = labelled(values, right)
    found = [fit.fitted("labels", rows, Wishes(method, coverage=0.9)).calibration for method in ("temperature", "isotonic")]
    sets = [[row["set"] for row in calibration(rows)] for calibration in found]
    assert sets[0] == sets[1]
    assert found[0].scores != found[1].scores
    assert np.mean([row["label"] in labels for row, labels in zip(rows, sets[0], strict=True)]) == pytest.approx(0.9, abs=0.01)
    folded = found[0].without_temperature()
    scored = replace(found[0], set_above=None)(rows)
    assert [row["set"] for row in folded(scored)] == sets[0], "the own scores come back from those that were divided"


# A run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run of each kind that makes mistakes, evaluated on test; tests only read it."""
    root, runs = tmp_path_factory.mktemp("calibration"), dict[str, Path]()

    def make(kind: str) -> Path:
        if kind not in runs:
            runs[kind] = run_of(CASES[KINDS[kind]], root / kind, test_after_fit="true")
        return runs[kind]

    return make


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy of such a run, which tests may change."""
    return lambda kind="one": Path(shutil.copytree(made(kind), tmp_path / kind))


def calibrated(run: Path, **options: Any) -> dict[str, Any]:
    ftlit.calibrate(str(run), **options)
    return json.loads((run / "calibration.json").read_text())


def test_every_evaluation_says_how_calibrated_its_scores_are(made: Run) -> None:
    for kind, of in (("one", "rows"), ("several", "labels"), ("relations", "rows"), ("choices", "rows")):
        for split in ("validation", "test"):
            [found] = json.loads((made(kind) / f"{split}_report.json").read_text())["calibration"]
            assert found["of"] == of
            assert found["ece_plain"]["value"] > 0
            assert sum(found["reliability"]["count"]) == found["count"]
    loss = json.loads((made("one") / "results.json").read_text())["test"]["loss"]
    [found] = json.loads((made("one") / "test_report.json").read_text())["calibration"]
    assert found["nll"]["value"] == pytest.approx(loss, rel=1e-5)
    text = (made("one") / "test_report.txt").read_text()
    assert "calibration of 37 rows" in text
    assert "expected calibration error, without what chance adds" in text


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_of_every_task_are_calibrated(kind: str, run: Run) -> None:
    folder = run(kind)
    frame = ftlit.calibrate(str(folder))
    nll = frame[frame.measure == "nll"].iloc[0]
    assert nll.before - nll.after == pytest.approx(-nll.difference)
    assert nll.low < nll.difference < nll.high
    page = (folder / "insight/calibration/calibration.html").read_text()
    assert page.count("<svg") == 2 + (kind == "words" and "entities" in set(frame.of))
    temperature = json.loads((folder / "calibration.json").read_text())["temperature"]
    rows = [json.loads(line) for line in (folder / "predictions/test.jsonl").read_text().splitlines()]
    before, after = (ftlit.load(folder, device="cpu", calibrated=on)(rows, scores=True) for on in (False, True))
    for old, new in zip(before, after, strict=True):
        assert words_of(new) == words_of(old), "labels stay"
    expected = ScoreMap(temperature)(np.array([first_scores(before)]), kind == "several")[0]
    assert first_scores(after) == pytest.approx(expected, abs=1e-6)


def words_of(row: dict[str, Any]) -> Any:
    return row.get("tags", row["prediction"])


def first_scores(rows: list[dict[str, Any]]) -> list[float]:
    """The scores of all labels of the first row, or of its first word."""
    scores = rows[0]["scores"]
    values = [*scores.values()] if isinstance(scores, dict) else scores
    return [value[0] if isinstance(value, list) else value for value in values]


def test_test_is_not_read_while_fitting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, wishes = run(), {"coverage": 0.8, "answer_share": 0.7}
    expected = calibrated(folder, **wishes)
    real = command.answered_rows
    order: list[str] = []

    def wrong(found: Any, predictor: Predictor, split: str) -> Any:
        order.append(split)
        rows = real(found, predictor, split)
        return rows if split == "validation" else [{**row, "label": row["prediction"]} for row in rows]

    monkeypatch.setattr(command, "answered_rows", wrong)
    fitting = command.fitted
    monkeypatch.setattr(command, "fitted", lambda *args: order.append("fit") or fitting(*args))
    found = calibrated(folder, overwrite=True, **wishes)
    assert order == ["validation", "fit", "test"]
    assert {**found, "made": 0} == {**expected, "made": 0}


def test_without_an_evaluation_on_test_the_page_says_so(run: Run) -> None:
    folder = run()
    results = json.loads((folder / "results.json").read_text())
    del results["test"]
    write_json(folder / "results.json", results)
    calibrated(folder)
    text = (folder / "insight/calibration/calibration.md").read_text()
    assert "The run has not been evaluated on test, so these are figures on the rows of validation, on which" in text


def test_the_page_says_what_was_promised_and_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run()
    main(["calibrate", "--run", str(folder), "--coverage", "0.8", "--answer_share", "0.5"])
    said = capsys.readouterr().out
    numbers = json.loads((folder / "insight/calibration/calibration.json").read_text())
    rows = [json.loads(line) for line in (folder / "predictions/test.jsonl").read_text().splitlines()]
    found = ftlit.load(folder, device="cpu")(rows)
    given = [(row["prediction"], old["label"]) for row, old in zip(found, rows, strict=True) if not row["abstained"]]
    assert numbers["withheld"]["answered"]["value"] == len(given) / 37
    assert numbers["withheld"]["wrong"]["value"] == sum(a != b for a, b in given) / len(given)
    assert (
        numbers["sets"]["coverage"]["value"]
        == sum(old["label"] in row["set"] for row, old in zip(found, rows, strict=True)) / 37
    )
    assert "of the sets have the right label, and 0.8 was promised" in said
    assert "would be if all got one" in said
    low, high = numbers["temperature_interval"]
    assert ("do not tell whether the model was too sure" in said) == (low <= 1 <= high)
    page = (folder / "insight/calibration/calibration.html").read_text()
    assert len(page) < 500_000
    assert "http" not in re.sub(r"http://www.w3.org/\S+", "", page), "the page needs nothing else"


def test_old_predictions_are_not_needed(run: Run) -> None:
    folder = run()
    expected = calibrated(folder)
    shutil.rmtree(folder / "predictions")
    assert {**calibrated(folder, overwrite=True), "made": 0} == {**expected, "made": 0}


# Predictions


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("method", ["temperature", pytest.param("isotonic", marks=pytest.mark.slow)])
def test_predict_load_serve_and_the_exported_folder_agree(method: str, run: Run, tmp_path: Path) -> None:
    folder = run()
    record = calibrated(folder, method=method, coverage=0.8, answer_share=0.7)
    predictor = ftlit.load(folder, device="cpu")
    expected = predictor(TEXTS, scores=True)
    withheld = {row["abstained"] for row in expected}
    assert withheld == {True, False} or method == "isotonic"  # whose few steps give many rows the same score
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n")
    main(
        [
            "predict",
            "--run",
            str(folder),
            "--input",
            str(tmp_path / "in.txt"),
            "--output",
            str(tmp_path / "out.jsonl"),
            "--scores",
            "true",
        ]
    )
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert same(found, expected)
    with serving(predictor) as server:
        told = server.predict({"rows": TEXTS, "scores": True}).json()["predictions"]
    assert same(told, expected)
    main(["export", "--run", str(folder), "--output", str(tmp_path / "exported")])
    assert same(ftlit.load(tmp_path / "exported", device="cpu")(TEXTS, scores=True), expected)
    kept = json.loads((tmp_path / "exported/ftlit.json").read_text())["calibration"]
    assert kept["temperature"] == 1
    assert kept["points"] == record["points"]
    given = pipeline("text-classification", model=str(tmp_path / "exported"), device="cpu", top_k=None)(TEXTS)
    raw = ftlit.load(folder, device="cpu", calibrated=False)(TEXTS, scores=True)
    for parts, row, own in zip(given, expected, raw, strict=True):
        shown = row if method == "temperature" else own  # transformers does not follow an isotonic map
        assert {part["label"]: part["score"] for part in parts} == pytest.approx(shown["scores"], abs=1e-5)


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether predictions are equal but for the last bits of scores."""
    keys = ("prediction", "abstained", "set")
    close = all(a["scores"] == pytest.approx(b["scores"], abs=1e-6) for a, b in zip(found, expected, strict=True))
    return close and [[row.get(key) for key in keys] for row in found] == [[row.get(key) for key in keys] for row in expected]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("kind", ["choices", "relations", "words"])
@pytest.mark.slow
def test_exports_of_other_tasks(kind: str, run: Run, tmp_path: Path) -> None:
    folder = run(kind)
    calibrated(folder)
    main(["export", "--run", str(folder), "--output", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out/ftlit.json").read_text())["calibration"]["temperature"] == 1
    rows = [json.loads(line) for line in (folder / "predictions/test.jsonl").read_text().splitlines()]
    found, expected = (ftlit.load(place, device="cpu")(rows, scores=True) for place in (tmp_path / "out", folder))
    assert np.ravel(first_scores(found)) == pytest.approx(np.ravel(first_scores(expected)), abs=1e-5)
    assert [words_of(row) for row in found] == [words_of(row) for row in expected]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.slow
def test_graphs_divide_the_logits_too(form: str, run: Run, tmp_path: Path) -> None:
    folder = run()
    calibrated(folder, coverage=0.8)
    main(["export", "--run", str(folder), "--output", str(tmp_path / "out"), "--format", form])
    about = json.loads((tmp_path / "out/ftlit.json").read_text())["calibration"]
    assert about["temperature"] == 1
    found, expected = (ftlit.load(place, device="cpu")(TEXTS, scores=True) for place in (tmp_path / "out", folder))
    assert [row["set"] for row in found] == [row["set"] for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


@pytest.mark.slow
def test_compressed_forms_keep_the_temperature_beside_the_weights(run: Run, tmp_path: Path) -> None:
    """So that their loss can be compared with that of the run."""
    folder = run()
    record = calibrated(folder)
    made = Folders(folder, find_checkpoint(folder), tmp_path).make("int8", lambda base, target: None)
    assert json.loads((made / "ftlit.json").read_text())["calibration"]["temperature"] == record["temperature"]


@pytest.mark.usefixtures("in_process")
def test_an_export_without_the_calibration(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run()
    record = calibrated(folder, answer_share=0.7)
    main(["export", "--run", str(folder), "--output", str(tmp_path / "with")])
    said = capsys.readouterr().out
    assert f"note: the weights divide the logits by the temperature {record['temperature']:.4g}, which was fitted on" in said
    assert "; the score below which a row gets no answer is in ftlit.json, which ftlit alone follows" in said
    assert "The weights divide the logits by the temperature" in (tmp_path / "with/README.md").read_text()
    main(["export", "--run", str(folder), "--output", str(tmp_path / "out"), "--calibrated", "false"])
    assert "calibration" not in json.loads((tmp_path / "out/ftlit.json").read_text())
    plain = ftlit.load(folder, device="cpu", calibrated=False)(TEXTS, scores=True)
    for one, other in zip(ftlit.load(tmp_path / "out", device="cpu")(TEXTS, scores=True), plain, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_thresholds_change_labels(run: Run) -> None:
    folder = run("several")
    record = calibrated(folder, thresholds="f1", answer_share=0.9)
    assert set(record["thresholds"]) == {"bad", "good", "long"}
    for row in ftlit.load(folder, device="cpu")(TEXTS, scores=True):
        said = [name for name, score in row["scores"].items() if score >= record["thresholds"][name]]
        assert row["prediction"] == (None if row["abstained"] else said)
    numbers = json.loads((folder / "insight/calibration/calibration.json").read_text())
    assert {"f1_macro", "f1_micro", "accuracy"} <= set(numbers["changes"]["measure"])
    assert "Thresholds of the labels" in (folder / "insight/calibration/calibration.md").read_text()


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_answers_are_withheld_below_a_score(ending: str, made: Run, tmp_path: Path) -> None:
    out, source = tmp_path / f"out.{ending}", tmp_path / "in.txt"
    source.write_text("\n".join(TEXTS) + "\n")
    plain = ftlit.load(made("one"), device="cpu")(TEXTS)
    limit = float(np.median([row["score"] for row in plain]))
    main(["predict", "--run", str(made("one")), "--input", str(source), "--output", str(out), "--abstain_below", str(limit)])
    if ending == "jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    elif ending == "parquet":
        found = parquet.read_table(out).to_pylist()
    else:
        found = [
            {**row, "abstained": row["abstained"] == "true", "prediction": row["prediction"] or None}
            for row in csv.DictReader(out.open())
        ]
    assert [row["abstained"] for row in found] == [row["score"] < limit for row in plain]
    for row, old in zip(found, plain, strict=True):
        assert row["prediction"] == (None if row["abstained"] else old["prediction"])


def test_a_resumed_prediction_needs_the_same_calibration(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, source = run(), tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    args = ["predict", "--run", str(folder), "--input", str(source), "--output", str(tmp_path / "out.jsonl"), "--device", "cpu"]
    main(args)
    (tmp_path / "out.jsonl").rename(tmp_path / "out.jsonl.partial")
    options = {"scores": False, "batch_size": None, "device": "cpu", "shard": None, "calibrated": None}
    write_json(tmp_path / "out.jsonl.partial.json", source_of(str(source), find_checkpoint(folder), **options))
    calibrated(folder)
    assert "cannot be resumed: --calibrated differs from what its predictions were made with" in refusal(
        [*args, "--resume"], capsys
    )
    main([*args, "--resume", "--calibrated", "false"])


# What is refused


def test_other_weights_are_not_calibrated_silently(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run()
    calibrated(folder)
    record = json.loads((folder / "calibration.json").read_text())
    write_json(folder / "calibration.json", {**record, "weights": "0123"})
    with pytest.raises(UserError, match=r"was fitted for other weights than those of .*best.ckpt; fit it again with"):
        ftlit.load(folder)
    said = refusal(["export", "--run", str(folder), "--output", str(tmp_path / "out")], capsys)
    assert "predict and export without it by `--calibrated false`" in said
    assert "abstained" not in ftlit.load(folder, calibrated=False)(TEXTS)[0]


def test_a_calibration_is_replaced_or_removed_only_on_request(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run()
    args = ["calibrate", "--run", str(folder)]
    assert "has no calibration.json" in refusal([*args, "--remove"], capsys)
    main(args)
    assert "is calibrated; replace its calibration.json with --overwrite, or remove it with --remove" in refusal(args, capsys)
    main([*args, "--overwrite", "--method", "isotonic"])
    assert json.loads((folder / "calibration.json").read_text())["temperature"] == 1
    main([*args, "--remove"])
    assert not (folder / "calibration.json").exists()
    assert not (folder / "insight/calibration").exists()
    main(args)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("one", ["--coverage", "1.5"], "--coverage must be above 0 and below 1, got 1.5"),
        ("one", ["--answer_share", "0.5", "--max_error", "0.1"], "both say which rows get no answer; set only one of them"),
        ("one", ["--thresholds", "f1"], "--thresholds is for several labels a row (model.multi_label: true)"),
        ("one", ["--method", "none"], "--method none fits nothing; add --thresholds, --coverage"),
        ("several", ["--coverage", "0.9"], "--coverage is for tasks with one right label a row"),
        ("words", ["--answer_share", "0.9"], "--answer_share is for tasks with one answer a row;"),
    ],
)
def test_what_does_not_fit_is_said(
    kind: str, options: list[str], said: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(kind)
    assert said in refusal(["calibrate", "--run", str(folder), *options], capsys)
    assert not (folder / "calibration.json").exists()
    assert not (folder / "insight").exists()


def test_abstaining_needs_an_answer_a_row(made: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.txt").write_text("a b\n")
    args = ["predict", "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.jsonl")]
    said = refusal([*args, "--run", str(made("words")), "--abstain_below", "0.5"], capsys)
    assert "--abstain_below is for tasks with one answer and its score for each row" in said
    assert "at most 1; got 2.0" in refusal([*args, "--run", str(made("one")), "--abstain_below", "2"], capsys)


def test_a_task_without_scores_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(CASES[3], tmp_path)
    assert "is a run of TextRegression" in refusal(["calibrate", "--run", str(folder)], capsys)


def test_changed_rows_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run()
    record = json.loads((folder / "run.json").read_text())
    record["data"]["splits"]["validation"]["fingerprint"] = "other"
    write_json(folder / "run.json", record)
    assert "the rows of validation are others than those of" in refusal(["calibrate", "--run", str(folder)], capsys)


def test_a_new_training_removes_the_calibration(run: Run) -> None:
    folder = run()
    calibrated(folder)
    clear(folder)
    assert not (folder / "calibration.json").exists()

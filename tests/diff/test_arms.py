"""Runs that were made by hand: how they are grouped into arms and named, and the statistics of the arms."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftlit.__main__ import main
from ftlit.diff.arms.grouping import grouped
from ftlit.diff.arms.naming import arm_names
from ftlit.exports.run import open_run
from ftlit.metrics.direction import bounds
from ftlit.study.statistics.compare import analyse
from ftlit.study.statistics.evidence import joint_evidence
from tests.support.run_folders import CONFIG, RECORD, Make, accuracy, answers, changed

MONITORED = {"monitor": "val/accuracy", "higher_is_better": {"accuracy": True, "loss": False}}
LORA = {"class_path": "ftlit.LoRA", "init_args": {"r": 8}}


def seeded(seed: int, **values: Any) -> dict[str, Any]:
    return {**changed(**values), "seed_everything": seed}


def arms_of(make: Make, full: float = 0.9, lora: float = 0.5, seeds: int = 3) -> dict[str, list[str]]:
    """Runs of two arms, with about these shares of right answers."""
    found: dict[str, list[str]] = {"Full": [], "LoRA": []}
    for seed in range(seeds):
        for name, share, values in (("Full", full, {}), ("LoRA", lora, {"tuning": LORA})):
            rows = answers(10 * seed + len(name) % 3, share)
            found[name].append(make(f"{name}{seed}", rows, seeded(seed, **values), seed=seed, **MONITORED))
    return found


def as_json(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    main(["compare", *args, "--json"])
    return json.loads(capsys.readouterr().out)


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error, which leaves with code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(["compare", *args])
    out, err = capsys.readouterr()
    assert (left.value.code, out, err.count("\n")) == (2, "", 1)
    return err


# Grouping and names


def test_runs_are_grouped_by_what_changes_results(make: Make) -> None:
    other = {"trainer": {"max_epochs": 3, "enable_progress_bar": False, "logger": {"class_path": "WandbLogger"}}}
    data = {"class_path": "ftlit.TextClassificationData", "init_args": {**CONFIG["data"]["init_args"], "seed": 5}}
    folders = [
        make("a", answers(0, 0.7), seeded(0)),
        make("b", answers(0, 0.7), seeded(0, tuning=LORA)),
        make("c", answers(0, 0.7), {**seeded(1), **other}),
        make("d", answers(0, 0.7), {**seeded(1), "data": data}),
    ]
    arms = grouped([open_run(folder) for folder in folders])
    assert [arm.name for arm in arms] == ["Full", "LoRA"]
    assert [[run.folder.name for run in arm.runs.values()] for arm in arms] == [["a", "d", "c"], ["b"]]
    assert arms[0].runs.keys() >= arms[1].runs.keys(), "runs with the same seed have the same number"
    assert arms[1].settings == {"model.tuning.class_path": "ftlit.LoRA", "model.tuning.r": 8}


def test_the_seed_of_the_record_counts(make: Make) -> None:
    drawn = {**CONFIG, "seed_everything": True}
    runs = [open_run(make(f"a{seed}", answers(0, 0.7), drawn, seed=seed)) for seed in (10, 9)]
    (arm,) = grouped(runs)
    assert {number: run.record["seed"] for number, run in arm.runs.items()} == {0: 9, 1: 10}


@pytest.mark.parametrize(
    ("configs", "names"),
    [
        ([{"t.class_path": "ftlit.Full", "a": 1}, {"t.class_path": "ftlit.LoRA", "a": 1}], ["Full", "LoRA"]),
        ([{"t.class_path": "one.Mine"}, {"t.class_path": "other.Mine"}], ["Mine", "Mine (2)"]),
        ([{"t.class_path": "F"}, {"t.class_path": "L", "t.r": 4}, {"t.class_path": "L", "t.r": 8}], ["F", "L, r 4", "L, r 8"]),
        ([{"model.optimizer.lr": 3e-4}, {"model.optimizer.lr": 1e-3}], ["lr 3e-4", "lr 1e-3"]),
        ([{"data.shots": None, "model.dropout": 0.1}, {"data.shots": 16, "model.dropout": 0.1}], ["no shots", "shots 16"]),
        ([{"model.tuning.dropout": 0, "model.dropout": 1}, {"model.tuning.dropout": 1, "model.dropout": 0}],
         ["model.tuning.dropout 0, model.dropout 1", "model.tuning.dropout 1, model.dropout 0"]),
        ([{"model.dropout": 0.1, "mine": 1}, {"model.dropout": 0.1}], ["mine 1", "rest"]),
        ([{"model.dropout": 0.1001}, {"model.dropout": 0.1002}], ["dropout 0.1001", "dropout 0.1002"]),
        ([{"model.backbone": "x" * 40 + "a" * 20}, {"model.backbone": "y"}],
         [f"backbone {'x' * 24}…xxxx{'a' * 20}", "backbone y"]),
        ([{"model.dropout": 0.1}], ["all runs"]),
    ],
)  # fmt: skip
def test_arms_are_named_by_their_values(configs: list[dict[str, Any]], names: list[str]) -> None:
    assert arm_names(configs) == names


# Statistics


def test_the_numbers_are_those_of_a_study(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    arms = arms_of(make)
    found = as_json([*arms["LoRA"], *arms["Full"], "--baseline", "Full"], capsys)
    rows = {
        name: {i: open_run(folder).prediction_rows("test") for i, folder in enumerate(arms[name])} for name in ("LoRA", "Full")
    }
    evidence = joint_evidence("labels", "accuracy", rows)
    assert evidence is not None
    expected = analyse(evidence, [[("LoRA", "Full")]], bounds=bounds("accuracy"))
    assert (found["metric"], found["split"], found["lower_is_better"]) == ("accuracy", "test", False)
    assert [arm["runs"] for arm in found["arms"]] == [arms["LoRA"], arms["Full"]]
    for arm in found["arms"]:
        one = expected.estimates[arm["name"]]
        assert [arm[key] for key in ("mean", "deviation", "low", "high")] == [one.mean, one.deviation, one.low, one.high]
        assert arm["mean"] == pytest.approx(np.mean([accuracy(open_run(run).prediction_rows("test")) for run in arm["runs"]]))
    (one,), (other,) = found["comparisons"], expected.comparisons
    for key in ("arm", "other", "difference", "low", "high", "p", "p_adjusted", "different", "seeds", "test"):
        assert one[key] == getattr(other, key)
    assert (one["different"], one["equivalent"]) == (True, None)


def test_the_answer_in_words(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    arms = arms_of(make)
    main(["compare", *arms["Full"], *arms["LoRA"]])
    said = capsys.readouterr().out
    assert said.startswith("accuracy on test\narm")
    assert "Full has the best accuracy on test, 0." in said
    assert "Significantly worse than Full: LoRA by 0." in said
    assert "  different " in said
    assert "trained models" not in said


def test_all_pairs_and_the_margin(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    arms = arms_of(make, full=0.7, lora=0.7)
    third = [
        make(f"Top{seed}", answers(seed + 70, 0.1), seeded(seed, dropout=0.5), seed=seed, **MONITORED) for seed in range(3)
    ]
    folders = [*arms["Full"], *arms["LoRA"], *third]
    everything = as_json(folders, capsys)["comparisons"]
    assert [(one["arm"], one["other"]) for one in everything] == [
        ("Full", "LoRA"), ("Full", "Full, dropout 0.5"), ("LoRA", "Full, dropout 0.5")
    ]  # fmt: skip
    against = as_json([*folders, "--baseline", "LoRA", "--margin", "0.9"], capsys)["comparisons"]
    assert [(one["arm"], one["other"]) for one in against] == [("Full", "LoRA"), ("Full, dropout 0.5", "LoRA")]
    assert [(one["different"], one["equivalent"]) for one in against] == [(False, True), (True, True)]
    assert against[0]["difference"] == pytest.approx(everything[0]["difference"])
    main(["compare", *folders, "--baseline", "LoRA", "--margin", "0.9"])
    said = capsys.readouterr().out
    assert "same within the margin" in said
    assert "The same as LoRA within the margin of 0.900: Full." in said
    assert len(as_json([*folders, "--baseline", "LoRA", "--pairs", "all"], capsys)["comparisons"]) == 3


def test_one_seed_compares_models(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    arms = arms_of(make, seeds=1)
    found = as_json([*arms["Full"], *arms["LoRA"]], capsys)
    assert found["comparisons"][0]["test"] == "McNemar"
    main(["compare", *arms["Full"], *arms["LoRA"]])
    assert "The intervals are about these trained models" in capsys.readouterr().out


def test_one_arm_has_its_interval(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", *arms_of(make)["Full"]])
    said = capsys.readouterr().out
    assert (
        "All runs have the same config apart from their seeds, so there is nothing to compare. Mean accuracy on test: 0."
        in said
    )


def test_a_metric_without_predictions_is_compared_by_seed(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    arms = arms_of(make)
    found = as_json([*arms["Full"], *arms["LoRA"], "--metric", "loss"], capsys)
    assert (found["lower_is_better"], found["comparisons"][0]["test"]) == (True, "moderated t over seeds")
    assert found["notes"] == ["loss cannot be computed from the saved predictions, so only seeds were compared."]


def test_examples_of_one_document_are_not_independent(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    def copied(seed: int, share: float) -> list[dict[str, Any]]:
        return [{**row, "id": f"{row['id']}:{i}", "group": row["id"]} for row in answers(seed, share) for i in range(8)]

    once = [make(f"a{i}", answers(i, 0.7 + i / 10), seeded(0, dropout=i / 10), **MONITORED) for i in range(2)]
    often = [make(f"b{i}", copied(i, 0.7 + i / 10), seeded(0, dropout=i / 10), **MONITORED) for i in range(2)]
    one, eight = (as_json(folders, capsys)["comparisons"][0] for folders in (once, often))
    assert (eight["low"], eight["high"]) == pytest.approx((one["low"], one["high"]))


def test_other_training_rows_are_noted(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    arms = arms_of(make)
    changed_data = {"splits": {"train": {"rows": 90, "fingerprint": "f9"}, "test": RECORD["data"]["splits"]["test"]}}
    late = make("late", answers(9, 0.9), seeded(9), seed=9, data=changed_data, **MONITORED)
    found = as_json([*arms["Full"], *arms["LoRA"], late], capsys)
    assert found["notes"] == ["The runs of Full were trained on different rows although their configs are the same."]


def test_two_trained_runs(finished: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json([str(finished("Full")), str(finished("BitFit"))], capsys)
    assert (found["metric"], [arm["name"] for arm in found["arms"]]) == ("accuracy", ["Full", "BitFit"])
    scores = [open_run(finished(name)).results[found["split"]]["accuracy"] for name in ("Full", "BitFit")]
    assert [arm["mean"] for arm in found["arms"]] == pytest.approx(scores)


# Bad input


def test_runs_that_cannot_be_compared(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    a, b = make("a", rows, **MONITORED), make("b", rows, seeded(0, tuning=LORA), **MONITORED)
    fewer = make("fewer", rows[1:], seeded(1), **MONITORED)
    assert "were evaluated on different data" in refused([a, b, fewer], capsys)
    other = make("other", [{**rows[0], "label": "bad"}, *rows[1:]], seeded(1), **MONITORED)
    assert "example 'test:0' has a different right answer" in refused([a, b, other], capsys)
    task = make("task", rows, seeded(1), task="TextRegression", evidence="values", **MONITORED)
    assert "cannot be compared: the tasks differ (TextClassification and TextRegression)" in refused([a, task], capsys)
    failed = make("failed", rows, seeded(1), status="failed", error="no memory", **MONITORED)
    assert "failed is not finished, so no metrics are compared: its status is failed (no memory)" in refused(
        [a, failed], capsys
    )
    assert "is given twice" in refused([a, b, f"{a}/"], capsys)
    again = make("again", rows, **MONITORED)
    assert "have the same config and seed, so they are one run made twice" in refused([a, again], capsys)
    assert "nowhere does not exist; expected a run folder" in refused([a, f"{a}/nowhere"], capsys)
    assert "needs at least two runs, got only" in refused([a], capsys)
    counted = make("counted", rows, seeded(0, negative_label="x"), **MONITORED)
    assert "model.negative_label differs" in refused([a, counted], capsys)


def test_options_that_do_not_fit(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    folders = [make("a", rows, **MONITORED), make("b", rows, seeded(0, tuning=LORA), **MONITORED)]
    assert "the baseline 'lora' is not an arm; the arms are 'Full', 'LoRA'" in refused([*folders, "--baseline", "lora"], capsys)
    assert "has no metric 'acuracy' in its results for test. Did you mean 'accuracy'?" in refused(
        [*folders, "--metric", "acuracy"], capsys
    )
    assert "a has no results for validation; `python -m ftlit validate" in refused([*folders, "--split", "validation"], capsys)
    assert "margin should be above 0 and below 1" in refused([*folders, "--margin", "2"], capsys)
    assert "pairs: baseline needs" in refused([*folders, "--pairs", "baseline"], capsys)
    assert "see ftlit compare --help" in refused(["--pairs", "all"], capsys)
    broken = make("c", rows, seeded(1), results={"test": {"accuracy": float("nan")}}, **MONITORED)
    assert "c has the accuracy nan on test, which is no number" in refused([*folders, broken], capsys)


def test_the_monitored_metric(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    rows = answers(0, 0.7)
    unknown = [make("a", rows), make("b", rows, changed(tuning=LORA))]
    assert "x does not record which metric it monitored; name one" in refused([unknown[0], make("x", rows, seeded(4))], capsys)
    assert as_json([*unknown, "--metric", "accuracy"], capsys)["metric"] == "accuracy"
    named = [make("c", rows, changed(monitor="val/loss")), make("d", rows, seeded(1, monitor="val/accuracy"))]
    assert "the runs monitored different metrics (accuracy, loss); name one" in refused(named, capsys)

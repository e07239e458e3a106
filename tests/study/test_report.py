"""The report of a study: its numbers against their sources, its words against the facts, its files against their formats."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from ftlit.metrics.evidence import EVIDENCE_KINDS
from ftlit.metrics.evidence.labels import is_right
from ftlit.study.plan.cells import Plan
from ftlit.study.report import write_study_report
from ftlit.study.report.content.answer import answer
from ftlit.study.report.content.assemble import assemble_report
from ftlit.study.report.content.blocks import families
from ftlit.study.report.content.breakdown import confusion_table
from ftlit.study.report.content.design import design
from ftlit.study.report.content.examples import BlockExamples, block_examples, by_label, disputed, thirds
from ftlit.study.report.content.numbers import Numbers, gather
from ftlit.study.report.content.paired import shared_texts
from ftlit.study.report.content.provenance import failures, provenance
from ftlit.study.report.content.results import main_table, main_tables
from ftlit.study.report.content.warnings import warnings
from ftlit.study.report.render import artifact
from ftlit.study.report.render.latex import escaped
from ftlit.study.report.render.plots import numeric_axis, pareto_front
from ftlit.study.selection.choices import selection_variance
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.study.statistics.compare import analyse
from ftlit.study.statistics.multiplicity import adjust
from ftlit.util.files import read_json, write_json, write_text
from ftlit.util.render.document import Figure, Text
from ftlit.util.render.formats import count, decimals_for, interval, listed, number, p_text, value_text
from tests.support.study.synthetic import STUDY, first_trials, made, write_all

LR = "model.optimizer.init_args.lr"
SHOTS = {**STUDY["axes"], "shots": [8, 32, 128]}


@pytest.fixture(scope="module")
def simple(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Folder]:
    """Four arms and three seeds, all finished."""
    return made(tmp_path_factory.mktemp("simple"))


@pytest.fixture(scope="module")
def numbers(simple: tuple[Plan, Folder]) -> Numbers:
    return gather(*simple)


@pytest.fixture(scope="module")
def report(simple: tuple[Plan, Folder]) -> Path:
    """The folder of its report."""
    return write_study_report(*simple)[0].parent


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """Four arms by three numbers of shots, one of them left out."""
    plan, folder = made(
        tmp_path_factory.mktemp("crossed"), 80, axes=SHOTS, select=None, exclude=[{"tuning": "LoRA", "shots": 8}], seeds=[0, 1]
    )
    return gather(plan, folder)


def again(folder: Folder) -> Folder:
    """The same folder without what was remembered of it."""
    return Folder(folder.path, folder.split)


def words(numbers: Numbers) -> str:
    """The sentences of a report."""
    sections = [make(numbers) for make in (answer, design, failures, provenance)]
    return "\n".join(part.text for section in sections for part in section.parts if isinstance(part, Text))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# Numbers


def test_means_are_those_of_the_results_and_verdicts_those_of_the_statistics(numbers: Numbers) -> None:
    (summary,) = numbers.blocks
    for label, runs in summary.block.arms.items():
        values = [run.results["test"]["accuracy"] for run in runs.repetitions]
        assert summary.estimates[label].mean == pytest.approx(np.mean(values))
        assert summary.estimates[label].deviation == pytest.approx(np.std(values, ddof=1))
    evidence = summary.paired.evidence
    assert evidence["LoRA"].examples == 200
    wanted = [[(one.arm, one.other) for one in found] for found in (summary.comparisons, summary.pairs)]
    added = selection_variance(numbers.plan, numbers.arms, numbers.tried, numbers.lower)
    expected = analyse(evidence, wanted, bounds=(0.0, 1.0), added=added)
    assert [*summary.comparisons, *summary.pairs] == expected.comparisons
    assert summary.estimates == expected.estimates
    assert [(one.arm, one.other) for one in summary.against("Full")] == [
        ("LoRA", "Full"),
        ("BitFit", "Full"),
        ("Frozen", "Full"),
    ]


def test_pairs_are_within_settings_and_one_family(crossed: Numbers) -> None:
    assert [summary.block.title for summary in crossed.blocks] == ["shots 8", "shots 32", "shots 128"]
    assert [len(summary.comparisons) for summary in crossed.blocks] == [2, 3, 3]
    assert [len(summary.pairs) for summary in crossed.blocks] == [3, 6, 6]
    for name in ("comparisons", "pairs"):
        found = [one for summary in crossed.blocks for one in getattr(summary, name)]
        assert [one.p_adjusted for one in found] == pytest.approx(adjust([one.p for one in found], "holm"))
    said = words(crossed)
    assert (
        "The p-values of the 8 comparisons with Full are adjusted as one family by Holm's method, and those of all pairs"
        in said
    )


@pytest.mark.parametrize(("chosen", "first"), [("all", 6), ([["LoRA", "BitFit"], ["Frozen", "LoRA"]], 2)])
def test_the_family_is_what_was_asked(chosen: Any, first: int, tmp_path: Path) -> None:
    compare = {"metric": "accuracy", "baseline": "Full", "pairs": chosen}
    numbers = gather(*made(tmp_path, 60, select=None, compare=compare))
    (summary,) = numbers.blocks
    assert len(summary.comparisons) == first
    assert len(summary.pairs) == 6
    assert (summary.pairs is summary.comparisons) == (chosen == "all")
    assert ("The p-values of all 6 pairs" if chosen == "all" else "of the 2 comparisons that the study names") in words(numbers)


def test_arms_within_the_margin_are_said_to_be_the_same(tmp_path: Path) -> None:
    compare = {"metric": "accuracy", "baseline": "Full", "margin": 0.5}
    numbers = gather(*made(tmp_path, 400, select=None, compare=compare, seeds=[0, 1, 2, 3]))
    same = [one.arm for one in numbers.blocks[0].against("Full") if one.equivalent and not one.different]
    assert same
    assert re.search(rf"The same as Full within the margin of 0\.50*: {same[0]}", words(numbers))
    assert "found by two one-sided tests" in words(numbers)


def test_a_setting_without_its_baseline_has_no_differences(tmp_path: Path) -> None:
    numbers = gather(*made(tmp_path, 60, axes=SHOTS, select=None, exclude=[{"tuning": "Full", "shots": 8}]))
    first, second, _ = (main_table(numbers, summary) for summary in numbers.blocks)
    assert "difference to Full" not in first.columns
    assert "difference to Full" in second.columns
    assert "There is no finished run of the baseline Full to compare with." in words(numbers)


def test_a_seed_that_is_missing_is_told(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 60, select=None)
    gone = plan.repetitions(plan.arms[1], {})[2]
    shutil.rmtree(folder.run_dir(gone.name))
    numbers = gather(plan, again(folder))
    (summary,) = numbers.blocks
    assert {one.seeds for one in summary.pairs if "LoRA" in (one.arm, one.other)} == {2}
    assert {one.seeds for one in summary.pairs if "LoRA" not in (one.arm, one.other)} == {3}
    assert not any(one.different for one in summary.pairs if one.seeds == 2)
    table = main_table(numbers, summary)
    assert [row[table.columns.index("seeds")] for row in table.rows] == ["3", "2/3", "3", "3"]
    assert "Not all seeds of these arms have finished, which favours arms whose runs fail: LoRA." in words(numbers)
    assert "11 of 12 repetitions have finished" in words(numbers)


def test_arms_without_a_seed_in_common_are_compared(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 60, select=None)
    for arm, seeds in ((0, [0, 1]), (1, [2])):
        for seed in seeds:
            shutil.rmtree(folder.run_dir(plan.repetitions(plan.arms[arm], {})[seed].name))
    numbers = gather(plan, again(folder))
    assert ("LoRA", "Full") in families(list(numbers.blocks[0].estimates), numbers.study.compare)[0]
    assert len(numbers.blocks[0].comparisons) == 3
    write_study_report(plan, again(folder))


def test_rows_that_share_a_text_are_told() -> None:
    context = "A paragraph of some length about which several questions are asked."
    rows = [{"id": i, "question": f"Who {i}?", "context": f"{context} {i // 4}", "label": "x"} for i in range(8)]
    said = shared_texts(rows)
    assert said is not None
    assert said.startswith("8 of 8 rows have the same 'context' as another, so they may not be independent")
    assert said.endswith("name the column of their document by data.group.")
    assert shared_texts([{**row, "context": f"{context} {i}"} for i, row in enumerate(rows)]) is None


def test_less_is_better_where_it_is(tmp_path: Path) -> None:
    numbers = gather(*made(tmp_path, 400, compare={"metric": "loss", "baseline": "Frozen"}, seeds=[0, 1, 2, 3, 4]))
    (summary,) = numbers.blocks
    assert summary.order[0] == "LoRA"
    assert summary.order[-1] == "Frozen"
    assert set(summary.letters["LoRA"]) - set(summary.letters["Frozen"]) == {"a"}
    table = main_table(numbers, summary)
    difference = dict(zip(table.columns, table.rows[1], strict=True))["difference to Frozen"]
    assert re.fullmatch(r"−0\.\d+ ▲", difference)
    assert "loss cannot be computed from the saved predictions, so only seeds were compared." in words(numbers)
    assert {one.test for one in summary.comparisons} == {"moderated t over seeds"}
    assert "tested by a moderated t test over seeds." in words(numbers)
    assert "they generalise to new seeds on the same examples." in words(numbers)


def test_one_number_of_each_arm_cannot_be_tested(tmp_path: Path) -> None:
    numbers = gather(*made(tmp_path, 60, compare={"metric": "loss", "baseline": "Full"}, seeds=[0], select=None))
    assert "With a single value per arm and no examples, differences cannot be tested." in words(numbers)
    assert "It is open whether LoRA, BitFit and Frozen differ from Full: claims need at least 3 seeds of each arm." in words(
        numbers
    )


def test_an_open_verdict_says_what_would_settle_it(tmp_path: Path) -> None:
    numbers = gather(*made(tmp_path, 40, compare={"metric": "loss", "baseline": "Full"}, seeds=[0, 1, 2], select=None))
    left = [one for one in numbers.blocks[0].against("Full") if not one.different]
    assert left
    assert all(one.seeds_needed >= 3 for one in left)
    assert re.search(
        r"It is open whether .* from Full: if the true .*, it would take .*about [\d,]+ seeds of each arm to settle .*\.",
        words(numbers),
    )


def test_a_metric_that_is_no_number_is_told(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 60, select=None)
    path = folder.run_dir(plan.repetitions(plan.arms[1], {})[0].name) / "results.json"
    results = read_json(path)
    write_json(path, {**results, "test": {"loss": 1.0}})
    numbers = gather(plan, again(folder))
    assert "accuracy is missing or not a number in a run of LoRA, so there is no mean." in words(numbers)
    assert "LoRA" not in numbers.blocks[0].letters
    assert main_table(numbers, numbers.blocks[0]).rows[1][2] == "–"
    write_study_report(plan, again(folder))


def test_one_seed_is_about_models(tmp_path: Path) -> None:
    numbers = gather(*made(tmp_path, 60, seeds=[0], select=None))
    assert {one.test for one in numbers.blocks[0].comparisons} == {"McNemar"}
    assert "With one seed, they are about these trained models" in words(numbers)
    assert "±" not in main_table(numbers, numbers.blocks[0]).rows[0][2]


def test_other_examples_are_compared_by_seed_alone(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 60, select=None)
    for cell in plan.repetitions(plan.arms[0], {}):
        path = folder.run_dir(cell.name) / "predictions" / "test.jsonl"
        write_text(path, path.read_text().replace("test:", "other:"))
    numbers = gather(plan, again(folder))
    assert {one.test for one in numbers.blocks[0].comparisons} == {"moderated t over seeds"}
    assert "Only seeds were compared, because the predictions could not be paired: Full (seed 0) and LoRA (seed 0)" in words(
        numbers
    )
    assert "were evaluated on different data" in words(numbers)
    write_study_report(plan, again(folder))


def test_predictions_of_another_metric_than_the_results_are_not_used(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 60, select=None)
    path = folder.run_dir(plan.repetitions(plan.arms[2], {})[1].name) / "results.json"
    results = read_json(path)
    write_json(path, {**results, "test": {**results["test"], "accuracy": 0.123}})
    numbers = gather(plan, again(folder))
    assert "The predictions of BitFit do not lead to the accuracy in their results" in words(numbers)
    assert {one.test for one in numbers.blocks[0].comparisons} == {"moderated t over seeds"}


def declared(plan: Plan, folder: Folder, **keys: Any) -> Numbers:
    """The numbers of a study whose runs, all or those of the named arms, recorded another task or kind of evidence."""
    arms = keys.pop("arms", [arm.name for arm in plan.arms])
    for cell in [cell for arm in plan.arms if arm.name in arms for cell in plan.repetitions(arm, {})]:
        path = folder.run_dir(cell.name) / "run.json"
        write_json(path, {**read_json(path), **keys})
    return gather(plan, again(folder))


def test_a_subclass_under_any_name_gets_the_report_of_its_task(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 60, select=None)
    before = [path.read_bytes() for path in write_study_report(plan, folder)]
    (plain,) = gather(plan, again(folder)).blocks
    (summary,) = declared(plan, folder, task="MyClassifier").blocks
    assert summary.comparisons == plain.comparisons
    assert {one.test for one in summary.comparisons} == {"moderated t over seeds and examples"}
    assert summary.paired.examples is not None
    assert np.array_equal(summary.paired.examples.right, plain.paired.examples.right)
    assert [path.read_bytes() for path in write_study_report(plan, again(folder))] == before
    (mixed,) = declared(plan, folder, task="TextClassification", arms=["Full"]).blocks
    assert mixed.comparisons == plain.comparisons


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"evidence": None}, "the task MyTask declares no kind of evidence."),
        ({"evidence": "odours"}, "the task MyTask declares evidence of the kind 'odours', and the known kinds are labels, "),
        (
            {"evidence": "values", "arms": ["LoRA"]},
            "the predictions of MyTask and TextClassification are different kinds of evidence.",
        ),
    ],
)
def test_predictions_of_no_common_kind_are_compared_by_seed_only(keys: dict[str, Any], reason: str, tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 60, select=None)
    numbers = declared(plan, folder, task="MyTask", **keys)
    (summary,) = numbers.blocks
    assert {one.test for one in summary.comparisons} == {"moderated t over seeds"}
    assert summary.paired.examples is None
    assert f"Only seeds were compared, because {reason}" in words(numbers)
    write_study_report(plan, again(folder))


def test_groups_agree_with_the_best_that_the_answer_names(numbers: Numbers) -> None:
    summary = numbers.blocks[0]
    first = summary.order[0]
    assert summary.best() == [label for label in summary.order if set(summary.letters[label]) & set(summary.letters[first])]


# Words


def test_nothing_has_run(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, finish=False)
    text = write_study_report(plan, folder)[1].read_text()
    assert "0 of 12 repetitions have finished (20 runs in total: 0 done, 20 not yet run)" in text
    assert "No repetition has finished yet, so there is no answer." in text


def test_trials_without_repetitions(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, finish=False)
    write_all(plan, folder, first_trials(plan, plan.arms[0]), 40)
    text = write_study_report(plan, again(folder))[1].read_text()
    assert "No repetition was evaluated on test." in text
    assert "| Full | 3 of 3 |" in text
    assert "| LoRA | 0 of 3 | – | 0 of 3 |" in text


def test_how_often_test_was_read(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 40)
    expected = (
        "12 finished repetitions (runs with the chosen values) were evaluated on test, after training had ended; the selection "
        "did not use test."
    )
    assert expected in words(gather(plan, again(folder)))
    write_json(folder.run_dir("0123456789ab") / "results.json", {"test": {"accuracy": 0.9}})
    assert "In addition, 1 run in this folder, not compared now, used test earlier." in words(gather(plan, again(folder)))


def test_numbers_of_the_data_that_chose_are_warned_of(tmp_path: Path) -> None:
    numbers = gather(*made(tmp_path, 40, compare={"metric": "accuracy", "split": "validation"}))
    assert "The results are on validation, which the selection used" in words(numbers)
    assert "minus" not in " ".join(main_tables(numbers)[0].columns)


def test_the_end_of_the_tried_values_and_failures(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 200, select={"over": {LR: [3e-4, 1e-3, 1e-2]}, "nested": False})
    failed = plan.repetitions(plan.arms[3], {LR: 3e-4})[2]
    shutil.rmtree(folder.run_dir(failed.name))
    folder.fail(failed.name, "the loss is nan at step 3 | <b>")
    numbers = gather(plan, again(folder))
    assert "These arms chose the largest or smallest value tried, so more extreme ones may be better: Full (lr 3e-4)" in words(
        numbers
    )
    assert "1 of 20 runs failed" in words(numbers)
    text = write_study_report(plan, again(folder))[1].read_text()
    assert f"| {failed.name} | the loss is nan at step 3 \\| &lt;b&gt; |" in text


def test_interruptions_are_counted(simple: tuple[Plan, Folder], tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 40, select=None)
    assert "No run was interrupted." in words(gather(plan, folder))
    name = plan.repetitions(plan.arms[0], {})[0].name
    for _ in range(3):
        folder.note("started", name)
    folder.note("failed", name)
    assert "1 run had 2 interruptions and continued from the last checkpoint." in words(gather(plan, folder))


def test_different_versions_and_uncommitted_changes_are_told(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 40, select=None)
    path = folder.run_dir(plan.repetitions(plan.arms[0], {})[0].name) / "run.json"
    record = read_json(path)
    write_json(path, {**record, "versions": {"torch": "2.6.0"}, "git": {"commit": "abcdef", "dirty": True}})
    numbers = gather(plan, again(folder))
    assert "Repetitions did not all run with the same code (git commit) and package versions: see Provenance." in words(numbers)
    assert "1 repetition ran with uncommitted changes." in words(numbers)
    text = write_study_report(plan, again(folder))[1].read_text()
    assert "| version of torch | 2.13.0 (11 runs); 2.6.0 (1 run) |" in text


def test_predicted_stands_beside_actual(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, 40, select=None)
    for cell in plan.repetitions(plan.arms[3], {}):
        path = folder.run_dir(cell.name) / "run.json"
        write_json(path, {**read_json(path), "predicted": {"train_seconds": 20.0}})
    text = write_study_report(plan, again(folder))[1].read_text()
    assert "| Frozen | train seconds | 20 | 25 | 1.26 |" in text


def test_many_settings_are_summed_up(tmp_path: Path) -> None:
    axes = {**STUDY["axes"], "shots": [1, 2, 3, 4, 5, 6, 7]}
    numbers = gather(*made(tmp_path, 60, axes=axes, select=None, seeds=[0, 1]))
    often = sum("LoRA" in summary.best() for summary in numbers.blocks)
    worse = sum(one.different for summary in numbers.blocks for one in summary.against("Full") if one.difference < 0)
    text = words(numbers)
    assert "Number of settings, of 7, in which an arm is the best or does not differ significantly from the best: " in text
    assert f"LoRA {often}" in text
    assert re.search(rf"Of 21 comparisons with Full, \d+ are significantly better, {worse} are significantly worse", text)


def test_an_axis_of_numbers_has_its_plot(crossed: Numbers, numbers: Numbers) -> None:
    assert numeric_axis(crossed) == "shots"
    assert numeric_axis(numbers) is None
    captions = [
        part.caption for section in assemble_report(crossed).sections for part in section.parts if isinstance(part, Figure)
    ]
    assert captions[0].startswith("accuracy over shots: means over seeds")


# Files


def test_results_are_the_same_bytes_however_they_came(simple: tuple[Plan, Folder], report: Path, tmp_path: Path) -> None:
    plan, folder = made(tmp_path, finish=False)
    progress = Progress(*simple)
    for cell in reversed(progress.cells):  # in another order, with other times, after a failure
        write_all(plan, folder, [cell], 200)
        path = folder.run_dir(cell.name) / "results.json"
        results = read_json(path)
        results["efficiency"] |= {"train_seconds": 1.5, "peak_memory_bytes": 7, "trunk_seconds": 0.5}
        write_json(path, results)
    folder.fail("0123456789ab", "killed")
    folder.clear_failures()
    found = write_study_report(plan, again(folder))[0].parent
    assert (found / "results.csv").read_bytes() == (report / "results.csv").read_bytes()
    assert (found / "efficiency.csv").read_bytes() != (report / "efficiency.csv").read_bytes()
    runs = len((found / "results.csv").read_text().splitlines()) - 1
    stored = f"states of frozen layers, which runs store and share: {runs / 2:.0f} s in all runs together"
    assert stored in (found / "report.md").read_text()
    assert "states of frozen layers" not in (report / "report.md").read_text()


def test_results_hold_every_metric(simple: tuple[Plan, Folder], report: Path) -> None:
    folder = simple[1]
    rows = rows_of((report / "results.csv").read_text())
    assert Counter(row["role"] for row in rows) == {"trial": 8, "repetition": 12}  # four trials are repetitions too
    assert [row["seed"] for row in rows if row["role"] == "repetition" and row["arm"] == "LoRA"] == ["0", "1", "2"]
    for row in rows:
        results = read_json(folder.run_dir(row["cell"]) / "results.json")
        assert row["validation/accuracy"] == repr(results["validation"]["accuracy"])
        assert row["test/loss"] == ("" if row["role"] == "trial" else repr(results["test"]["loss"]))
    assert not {"train_seconds", "peak_memory_bytes", "started"} & set(rows[0])


def test_a_report_is_the_same_bytes_each_time(simple: tuple[Plan, Folder], report: Path) -> None:
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    write_study_report(*simple)
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before


class Tags(HTMLParser):
    """Collects the elements of a page, and refuses those that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_no_network(report: Path) -> None:
    text = (report / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    names = [tag for tag, _ in tags.found]
    assert not {"script", "link", "iframe", "img"} & set(names)
    assert not re.search(r"url\((?!#)|@import|src=", text)
    assert not [attrs for tag, attrs in tags.found if tag in ("a", "use") and "//" in attrs.get("href", "")]
    ids = [attrs["id"] for _, attrs in tags.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"][1:] for tag, attrs in tags.found if tag == "a" and attrs["href"].startswith("#")]
    assert targets
    assert set(targets) <= set(ids)
    assert all("scope" in attrs for tag, attrs in tags.found if tag == "th")
    drawings = [attrs for tag, attrs in tags.found if tag == "svg"]
    assert len(drawings) == 4
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)


def test_texts_of_the_data_are_no_part_of_the_page(report: Path) -> None:
    text = (report / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text


def test_drawings_take_the_colours_of_the_page(report: Path) -> None:
    text = (report / "report.html").read_text()
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(drawing)
        assert "currentColor" in drawing
        assert not re.search(r"#000000|#ffffff|fill: black|DejaVu|#010203", drawing)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_names_with_special_characters(tmp_path: Path) -> None:
    axes = {"tuning": {"a_b & 50%": {"model.tuning": "Full"}, "$x$ <b>|": {"model.tuning": "LoRA"}}}
    files = write_study_report(
        *made(tmp_path, 40, axes=axes, select=None, compare={"metric": "accuracy", "baseline": "a_b & 50%"})
    )
    texts = {path.name: path.read_text() for path in files}
    assert r"a\_b \& 50\% & 3 &" in texts["table.tex"]
    assert r"\$x\$ $<$b$>$| & 3 &" in texts["table.tex"]
    assert "<b>" not in texts["report.html"]
    assert "$x$ &lt;b&gt;|" in texts["report.html"]
    lines = [line for line in texts["report.md"].splitlines() if line.startswith("| \\$x") or line.startswith("| $x")]
    assert lines
    assert all("\\|" in line and "<b>" not in line for line in lines)


def test_the_table_of_a_paper_has_its_columns(report: Path, numbers: Numbers) -> None:
    text = (report / "table.tex").read_text()
    shape = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert shape
    assert len(lines) == 5
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(shape[1])}
    assert "by Holm's method" in text
    assert "tested by a moderated t test over seeds and examples" in text


def test_markdown_tables_have_their_columns(report: Path) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", (report / "report.md").read_text(), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


# Parts


def test_the_front_of_quality_and_cost() -> None:
    quality = {"a": 0.9, "b": 0.8, "c": 0.95, "d": 0.85, "e": 0.8}
    costs = {"a": 10.0, "b": 1.0, "c": 100.0, "d": 20.0, "e": 1.0}
    assert pareto_front(quality, costs, lower=False) == ["b", "a", "c"]
    assert pareto_front({name: -value for name, value in quality.items()}, costs, lower=True) == ["b", "a", "c"]


def test_examples_by_length_label_and_dispute() -> None:
    right = np.array([[1, 1, 0, 1, 0.5, 1.0], [1, 0, 0, 1, 1, 0.5]])
    examples = BlockExamples(
        ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"], ["x", "y", "x", "x", "y", "x"], right, ["one", "two"]
    )
    assert {name: part.tolist() for name, part in thirds(examples).items()} == {
        "≤ 2": [0, 1], "3 to 4": [2, 3], "> 4": [4, 5],
    }  # fmt: skip
    assert {name: part.tolist() for name, part in by_label(examples, 5).items()} == {"x": [0, 2, 3, 5], "y": [1, 4]}
    assert list(by_label(examples, 1)) == ["x"]
    assert disputed(examples, ["one", "two"], 3) == [1, 4, 5]
    assert disputed(examples, ["one"], 3) == []
    assert thirds(BlockExamples(["", "", ""], [], None, [])) == {}


def test_confusion_is_summed_over_seeds() -> None:
    def rows(*said: str) -> list[dict[str, Any]]:
        return [{"id": i, "text": "t", "label": "ab"[i % 2], "prediction": one} for i, one in enumerate(said)]

    found = block_examples("labels", {"one": {0: rows(*"aaabab"), 1: rows(*"ababab")}, "two": {0: rows(*"bababa")}})
    table = confusion_table("one", found.confusions["one"])
    assert (table.columns, table.rows) == (["true \\ predicted", "a", "b"], [["a", "6", "0"], ["b", "1", "5"]])
    assert found.confusions["two"] == {("a", "b"): 3, ("b", "a"): 3}
    many = Counter({(f"c{i:02}", f"c{i + 1:02}"): i for i in range(30)} | {("c00", "c00"): 99})
    table = confusion_table("one", many)
    assert table.rows[0] == ["c29", "c30", "29"]
    assert len(table.rows) == 20
    scores = [{**row, "label": 0.5, "prediction": 0.5} for row in rows(*"ababab")]
    assert block_examples("values", {"one": {0: scores}}).confusions == {}


def test_who_is_right() -> None:
    words_right = EVIDENCE_KINDS["tags"].is_right
    assert words_right is not None
    assert is_right({"label": ["a", "b"], "prediction": ["b", "a"]})
    assert not is_right({"label": "a", "prediction": "b"})
    entity = {"label": "PER", "start": 0, "end": 4, "text": "Anna"}
    assert words_right({"label": [entity], "prediction": [{**entity, "score": 0.9}], "tags": ["B-PER"]})
    assert not words_right({"label": [entity], "prediction": [{**entity, "end": 3}], "tags": ["B-PER"]})
    assert words_right({"label": ["NOUN", "VERB"], "prediction": ["NOUN", "VERB"]})
    assert not words_right({"label": ["NOUN", "VERB"], "prediction": ["VERB", "NOUN"]})


def test_numbers_as_they_are_read() -> None:
    assert number(-0.0004, 3) == "0.000"
    assert number(-0.0114, 3, sign=True) == "−0.011"
    assert number(0.0114, 3, sign=True) == "+0.011"
    assert number(float("nan"), 3) == "–"
    assert interval(-0.02, 0.03, 2) == "[−0.02, 0.03]"
    assert decimals_for([0.012, 0.02, 0.4]) == 3
    assert decimals_for([1.2]) == 1
    assert decimals_for([]) == 3
    assert (p_text(0.0004), p_text(0.049), p_text(1.0)) == ("< 0.001", "0.049", "1.000")
    assert (count(770), count(332_546), count(22_897_922)) == ("770", "333 k", "22.9 M")
    shown = [value_text(value) for value in (3e-5, 0.001, 0.05, 2.0, 16, "linear", 0.0)]
    assert shown == ["3e-5", "1e-3", "0.05", "2", "16", "linear", "0"]
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed("abcdefgh", 4) == "a, b, c and 5 others"
    assert listed(["a, 8", "b, 8", "c, 8"]) == "a, 8; b, 8 and c, 8"
    assert escaped("\\50%_{x}~^") == r"\textbackslash{}50\%\_\{x\}\textasciitilde{}\textasciicircum{}"


def test_reading_a_folder_needs_no_torch() -> None:
    rendering = ["ftlit.util.render.page", "ftlit.util.render.markdown"]
    modules = ["content.assemble", *(f"render.{name}" for name in ("latex", "table", "artifact"))]
    imports = "; ".join(f"import {name}" for name in [*rendering, *(f"ftlit.study.report.{name}" for name in modules)])
    heavy = "[name for name in ('torch', 'lightning', 'transformers', 'wandb', 'matplotlib') if name in sys.modules]"
    code = f"import sys; {imports}; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# Weights & Biases


def test_only_studies_that_log_there_send_their_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"project": "p", "offline": True, "save_dir": str(tmp_path / "w")}
    wandb = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": settings}

    def study(name: str, logger: Any) -> tuple[Plan, Folder]:
        base = {**STUDY["base"], "trainer": {"logger": logger}}
        return made(tmp_path / name, 40, finish=name == "list", base=base, select=None, name=f"a {name}")

    assert artifact.logger_settings(study("false", False)[0]) is None
    assert artifact.logger_settings(study("name", "WandbLogger")[0]) == {}
    plan, folder = study("list", [{"class_path": "CSVLogger"}, wandb])
    calls: list[Any] = []

    class Run:
        def log_artifact(self, found: Any) -> None:
            calls.append((found.name, found.type, sorted(found.manifest.entries)))

        def finish(self) -> None:
            calls.append("finished")

    def init(**keys: Any) -> Run:
        calls.append(keys)
        return Run()

    monkeypatch.setattr("wandb.init", init)
    write_study_report(plan, folder)
    keys, sent, end = calls
    assert (keys["project"], keys["group"], keys["job_type"], keys["mode"]) == ("p", "a list", "report", "offline")
    assert sent == ("a-list-report", "report", ["efficiency.csv", "report.html", "report.md", "results.csv", "table.tex"])
    assert end == "finished"


# Size


@pytest.mark.slow
def test_a_thousand_cells_are_reported_in_a_minute(tmp_path: Path) -> None:
    axes = {"tuning": {f"arm{i}": {"model.tuning.r": i} for i in range(200)}}
    keys = {"axes": axes, "select": None, "seeds": [0, 1, 2, 3, 4], "compare": {"metric": "accuracy", "baseline": "arm0"}}
    plan, folder = made(tmp_path, 300, **keys)
    began = time.process_time()
    files = write_study_report(plan, folder)
    assert time.process_time() - began < 60
    page = files[0].read_text()
    assert len(rows_of(files[2].read_text())) == 1000
    assert "All 19,900 pairs" in page
    assert "Only the 300 of 19,900 pairs with the smallest p-values are shown." in page
    assert len(page) < 3_000_000
    assert json.dumps("arm199") not in page
    assert page.count("arm199") > 1


def test_a_trial_that_is_repeated_has_one_line(tmp_path: Path) -> None:
    plan, folder = made(tmp_path)
    write_study_report(plan, folder)
    with (folder.path / "report/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["cell"] for row in rows}) == len(rows) == 4 * (3 + 3 - 1)
    roles = Counter(row["role"] for row in rows)
    assert roles == {"trial": 4 * 2, "repetition": 4 * 3}


def test_an_interval_ends_where_the_metric_does(tmp_path: Path) -> None:
    numbers = gather(*made(tmp_path, examples=12))
    ends = [(one.low, one.high) for block in numbers.blocks for one in block.estimates.values()]
    assert all(0 <= low < high <= 1 for low, high in ends)
    assert any(high > 0.9 for _, high in ends)


def test_two_seeds_call_nothing_significant(tmp_path: Path) -> None:
    found = {seeds: gather(*made(tmp_path / str(seeds), examples=2000, seeds=seeds, select=None)) for seeds in (2, 3)}
    different = {n: sum(one.different for block in numbers.blocks for one in block.comparisons) for n, numbers in found.items()}
    assert different[2] == 0 < different[3]
    assert [text for text in warnings(found[2]) if text.startswith("Two seeds say too little")]
    assert not [text for text in warnings(found[3]) if text.startswith("Two seeds")]


def test_the_report_names_settings_of_training_and_each_seed(tmp_path: Path) -> None:
    found, folder = made(tmp_path, set={"trainer.max_epochs": 7, "model.head": {"class_path": "PooledHead"}})
    write_study_report(found, folder)
    text = (folder.path / "report/report.html").read_text()
    for part in (">epochs</", "PooledHead", "seed 0", "seed 2", "accuracy of each seed"):
        assert part in text, part


def test_curves_that_still_rise_are_told(tmp_path: Path) -> None:
    plan, folder = made(tmp_path, select=None)
    for arm in plan.arms:
        for cell in plan.repetitions(arm, {}):
            values = [0.5, 0.6, 0.7] if arm.name in ("LoRA", "BitFit") else [0.5, 0.7, 0.6]
            rows = [f"{step},{value}" for step, value in enumerate(values, 1)]
            (folder.run_dir(cell.name) / "metrics.csv").write_text("\n".join(["step,val/accuracy", *rows]) + "\n")
    said = [text for text in warnings(gather(plan, folder)) if "may need more epochs" in text]
    assert [text.rsplit(": ", 1)[1] for text in said] == ["LoRA and BitFit."]

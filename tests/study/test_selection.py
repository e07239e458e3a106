"""How arms choose: by seed or for all seeds, with lists that are extended, and by halving; whatever is interrupted."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ftlit.errors import UserError
from ftlit.study.plan.cells import Cell, Plan, Setting
from ftlit.study.plan.ends import end_of, next_value
from ftlit.study.plan.file import read_study
from ftlit.study.report.content.numbers import gather
from ftlit.study.report.content.warnings import warnings
from ftlit.study.report.render.table import results_csv
from ftlit.study.selection.trials import ranked, selection
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.study.status import status_text
from ftlit.util.files import write_json
from ftlit.util.settings import value_at
from tests.support.study.synthetic import STUDY, first_trials, made, write_cell

LR = "model.optimizer.init_args.lr"
RATES = [1e-4, 3e-4, 1e-3]
BASE = {**STUDY["base"], "trainer": {"max_epochs": 9}}


def study(folder: Path, **keys: Any) -> tuple[Plan, Folder]:
    """A study in whose folder nothing has run."""
    return made(folder, finish=False, **{"base": BASE, **keys})


def finish(plan: Plan, folder: Folder, best: dict[tuple[str, int], float] | None, stop_after: int = -1) -> Progress:
    """End cells one after the other; each arm and seed does best at a rate, and at a rate of 0 all of its trials fail.

    Args:
        plan: The study.
        folder: Its folder.
        best: The best rates by arm and seed; 3e-4 for those that are not named. None for results of some chance.
        stop_after: Number of cells after which the study is interrupted; -1 to go on to its end.
    """
    choices = selection(plan, folder, may_propose=True)
    while stop_after and (left := Progress(plan, folder, choices).in_state("pending")):
        for cell in left[:stop_after] if stop_after > 0 else left:
            end(plan, folder, cell, None if best is None else best.get((cell.arm.name, cell.seed), 3e-4))
            stop_after -= 1
    return Progress(plan, Folder(folder.path))


def end(plan: Plan, folder: Folder, cell: Cell, best: float | None) -> None:
    """End a cell, which is the better the nearer its rate is to the best one, if there is one."""
    if best is None:
        return write_cell(plan, folder, cell, 200)
    if not best:
        return folder.fail(cell.name, "no")
    write_cell(plan, folder, cell, 20)
    score = 1 / (1 + abs(cell.chosen[LR] / best - 1))
    results = {split: {"accuracy": score} for split in ("validation", *(["test"] if cell.final else []))}
    return write_json(folder.run_dir(cell.name) / "results.json", results)


def test_the_first_of_equals_wins_and_failures_never() -> None:
    nan = float("nan")
    assert ranked([0.5, 0.9, nan, 0.9], lower=False) == [1, 3, 0]
    assert ranked([0.5, 0.9, nan, 0.5], lower=True) == [0, 3, 1]
    assert ranked([nan], lower=True) == []


def test_an_arm_waits_for_all_of_its_trials(tmp_path: Path) -> None:
    plan, folder = study(tmp_path)
    search = plan.searches(plan.arms[0])[0]
    cells = first_trials(plan, plan.arms[0])
    for cell in cells[:2]:
        end(plan, folder, cell, 3e-4)
    assert selection(plan, folder).best(search) is None
    folder.fail(cells[2].name, "no")
    assert selection(plan, folder).best(search) == {LR: 3e-4}


def test_the_trial_that_wins_is_the_first_repetition(tmp_path: Path) -> None:
    plan, _ = study(tmp_path)
    arm = plan.arms[0]
    trials = first_trials(plan, arm)
    assert [cell.chosen[LR] for cell in trials] == RATES
    assert [cell.name == trials[1].name for cell in plan.repetitions(arm, {LR: 3e-4})] == [True, False, False]
    assert plan.size == 4 * (3 + 3 - 1)


def test_every_arm_draws_the_same_values(tmp_path: Path) -> None:
    over = {LR: {"low": 1e-5, "high": 1e-2, "log": True}, "model.warmup_ratio": [0, 0.1]}
    for nested in (False, True):
        plan, _ = study(tmp_path, select={"over": over, "method": "random", "trials": 6, "nested": nested})
        drawn = [[[one.chosen for one in plan.settings(search)] for search in plan.searches(arm)] for arm in plan.arms]
        assert all(other == drawn[0] for other in drawn)
        assert all(len(one) == 6 and all(1e-5 <= chosen[LR] <= 1e-2 for chosen in one) for one in drawn[0])
        assert len(drawn[0]) == (3 if nested else 1)
        assert len({str(one) for one in drawn[0]}) == len(drawn[0])  # each seed has draws of its own


# Each seed for itself


def test_each_seed_repeats_what_its_own_trials_chose(tmp_path: Path) -> None:
    plan, folder = study(tmp_path, select={"over": {LR: RATES}})
    assert plan.size == plan.budget * 4 == 9 * 4  # every repetition is a trial
    progress = finish(plan, folder, {("Full", 1): 1e-3, ("LoRA", 2): 0})
    full, lora = progress.arms[:2]
    assert {seed: chosen[LR] for seed, chosen in full.choices.items()} == {0: 3e-4, 1: 1e-3, 2: 3e-4}
    assert [(cell.seed, cell.chosen[LR], cell.final) for cell in full.repetitions] == [
        (0, 3e-4, True), (1, 1e-3, True), (2, 3e-4, True)
    ]  # fmt: skip
    assert {cell.name for cell in full.repetitions} <= {cell.name for cell in full.trials}
    assert len(list((folder.path / "cells").iterdir())) == 36 - 3
    assert list(lora.choices) == [0, 1]
    assert [search.name for search in progress.undecided] == ["LoRA, seed 2"]
    assert not progress.unfinished
    assert "lr 3e-4 (2 seeds); lr 1e-3 (1 seed)" in status_text(progress)


def test_one_seed_does_not_wait_for_another(tmp_path: Path) -> None:
    plan, folder = study(tmp_path, select={"over": {LR: RATES}})
    for cell in first_trials(plan, plan.arms[0])[:3]:
        write_cell(plan, folder, cell, 20)
    progress = Progress(plan, Folder(folder.path))
    assert [cell.seed for cell in progress.arms[0].repetitions] == [0]
    assert len(progress.open) == 4 * 3 - 1
    assert progress.unfinished


def test_seeds_mean_one_choice_for_all(tmp_path: Path) -> None:
    chosen = {key: study(tmp_path, select={"over": {LR: RATES}, **given})[0].study.select for key, given in {
        "plain": {}, "seeds": {"seeds": [0, 1]}, "told": {"nested": False}, "nested": {"nested": True}}.items()}  # fmt: skip
    assert {key: one.by_seed for key, one in chosen.items() if one} == {
        "plain": True, "seeds": False, "told": False, "nested": True
    }  # fmt: skip
    assert [one.trial_seeds for key, one in chosen.items() if one and key in ("seeds", "told")] == [[0, 1], [0]]


def test_a_folder_says_how_its_arms_chose(tmp_path: Path) -> None:
    plan, folder = study(tmp_path, select={"over": {LR: RATES}})
    again = read_study(folder.path)
    assert again.select == read_study(folder.path, {"select.nested": True}).select
    assert again.select is not None
    assert again.select.by_seed
    assert folder.changes(plan.study) == []
    file = folder.path / "study.yaml"
    content = yaml.safe_load(file.read_text())
    del content["select"]["nested"]  # as studies were written that chose once for all seeds
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    older = read_study(folder.path).select
    assert older is not None
    assert not older.by_seed
    assert folder.changes(plan.study) == ["select.nested"]


METHODS: dict[str, dict[str, Any]] = {
    "nested": {"over": {LR: RATES}},
    "extended": {"over": {LR: RATES}, "extend": 2},
    "halving": {"over": {LR: [*RATES, 3e-3]}, "method": "halving"},
    "tpe": {"over": {LR: {"low": 1e-5, "high": 1e-1, "log": True}}, "method": "tpe", "trials": 3},
}


@pytest.mark.parametrize("method", [*list(METHODS)[:3], pytest.param("tpe", marks=pytest.mark.slow)])
def test_an_interrupted_study_ends_with_the_same_results(tmp_path: Path, method: str) -> None:
    best, found = {("Full", 0): 1e-3, ("Full", 1): 2e-3, ("LoRA", 1): 1e-4, ("Frozen", 2): 0}, []
    for name, kills in (("whole", []), ("broken", [1, 4, 9, 5, 2, 1])):
        plan, folder = study(tmp_path / name, select=METHODS[method], seeds=3)
        for cells in [*kills, -1]:  # each time another process looks at the folder for the first time
            finish(plan, Folder(folder.path), best, cells)
        found.append(results_csv(gather(plan, Folder(folder.path))))
    assert found[0] == found[1]
    assert found[0].count("repetition") == 11


@pytest.mark.slow
def test_seeds_that_are_added_choose_for_themselves(tmp_path: Path) -> None:
    found = []
    for name, kills in (("whole", []), ("broken", [5, 40, 11])):
        select = {"over": {LR: [1e-4, 2e-4, 4e-4]}, "extend": 1}
        plan, folder = study(tmp_path / name, select=select, seeds={"at_least": 3, "at_most": 30})
        for cells in [*kills, -1]:
            progress = finish(plan, Folder(folder.path), None, cells)
        found.append(results_csv(gather(plan, Folder(folder.path))))
    assert found[0] == found[1]
    assert not progress.unfinished
    assert max(len(arm.repetitions) for arm in progress.arms) > 3
    for arm in progress.arms:
        assert list(arm.choices) == [cell.seed for cell in arm.repetitions] == progress.seeds(arm.arm)
        assert {cell.name for cell in arm.repetitions} <= {cell.name for cell in arm.trials}
    tried = {frozenset(c.chosen[LR] for c in arm.trials if c.seed == seed) for arm in progress.arms for seed in arm.choices}
    assert tried == {frozenset(cell.chosen[LR] for cell in progress.arms[0].trials)}  # what the first seeds asked for


# Lists that are extended

LISTS = [
    ([1e-5, 3e-5, 1e-4], "low", 3e-6),
    ([1e-5, 3e-5, 1e-4], "high", 3e-4),
    ([1e-4, 5e-4, 2.5e-3], "high", 0.0125),
    ([1e-3, 1e-5, 1e-4], "high", 1e-2),
    ([1, 3, 10, 30], "high", 100),
    ([8, 16, 32], "low", 4),
    ([1, 2, 4], "low", None),
    ([1, 2, 3], "low", None),
    ([1, 2, 3], "high", 4),
    ([0, 0.1, 0.2], "low", None),
    ([0, 0.1, 0.2], "high", 0.3),
    ([0.1, 0.2, 0.3], "low", None),
    ([-1, 0, 1], "low", -2),
    ([0, 0.1, 1], "high", None),
    ([1e-5, 1e-4], "high", None),
    (["a", "b", "c"], "high", None),
    ([True, False, True], "high", None),
]


@pytest.mark.parametrize(("values", "end", "expected"), LISTS, ids=[f"{values} {end}" for values, end, _ in LISTS])
def test_the_next_value(values: list[Any], end: Any, expected: float | None) -> None:
    assert next_value("model.some", values, end) == expected
    assert type(next_value("model.some", values, end)) is type(expected)


def test_no_value_that_the_key_cannot_have() -> None:
    assert next_value("model.warmup_ratio", [0.2, 0.5, 0.8], "high") is None
    assert next_value("model.some", [0.2, 0.5, 0.8], "high") == 1.1


def test_most_choices_lie_at_an_end() -> None:
    assert end_of(RATES, [1e-4, 1e-4, 1e-3]) == "low"
    assert end_of(RATES, [1e-3]) == "high"
    assert end_of(RATES, [1e-4, 1e-3]) is None
    assert end_of(RATES, []) is None
    assert end_of([1e-4, 1e-3], [1e-4]) is None


@pytest.mark.parametrize("nested", [True, False])
def test_every_arm_tries_the_value_that_one_of_them_asks_for(tmp_path: Path, nested: bool) -> None:
    best = {("BitFit", seed): 2e-2 for seed in range(3)} | {("Frozen", seed): 1e-4 for seed in range(2)}
    for extend, tried, at_end in (
        (0, RATES, 1e-3),
        (1, [*RATES, 3e-5, 3e-3], 3e-3),
        (9, [3e-5, *RATES, 3e-3, 1e-2, 3e-2], 3e-2),
    ):
        select = {"over": {LR: RATES}, "nested": nested, "extend": extend}
        plan, folder = study(tmp_path / str(extend), select=select)
        progress = finish(plan, folder, best)
        for arm in progress.arms:
            assert {cell.chosen[LR] for cell in arm.trials} == set(tried), arm.arm.name
        assert progress.arms[2].choices[0] == {LR: 1e-2 if extend == 9 else at_end}
        assert not progress.unfinished
        assert set(progress.counts) == {"done"}


def test_what_was_tried_is_not_tried_again_when_a_study_is_extended(tmp_path: Path) -> None:
    best = {("BitFit", seed): 3e-3 for seed in range(3)}
    plan, folder = study(tmp_path, select={"over": {LR: RATES}})
    finish(plan, folder, best)
    before = {path.name for path in (folder.path / "cells").iterdir()}
    wider = study(tmp_path, select={"over": {LR: RATES}, "extend": 1})[0]
    finish(wider, folder, best)
    added = {path.name for path in (folder.path / "cells").iterdir()} - before
    assert len(added) == 4 * 3  # the next value of each arm and seed


def test_an_extended_list_that_still_ends_at_the_best_is_told(tmp_path: Path) -> None:
    plan, folder = study(tmp_path, select={"over": {LR: RATES}, "extend": 1})
    finish(plan, folder, {("BitFit", seed): 1.0 for seed in range(3)})
    found = [text for text in warnings(gather(plan, Folder(folder.path))) if "largest or smallest" in text]
    assert found == [
        "These arms chose the largest or smallest value tried, so more extreme ones may be better: BitFit (lr 3e-3)."
    ]


# Halving

NINE = [1e-4 * 2**i for i in range(9)]


def test_the_best_third_goes_on(tmp_path: Path) -> None:
    plan, folder = study(tmp_path, select={"over": {LR: NINE}, "method": "halving"})
    assert plan.budget == (9 + 3 + 1) * 3
    assert plan.size == 4 * plan.budget  # the last of each seed is its repetition
    progress = finish(plan, folder, {("Full", 0): 8e-4})
    full = [cell for cell in progress.arms[0].trials if cell.seed == 0]
    rounds = [(cell.rung, value_at(cell.config, "trainer.max_epochs"), cell.chosen[LR]) for cell in full]
    assert [one[:2] for one in rounds] == [(1, 1)] * 9 + [(2, 3)] * 3 + [(None, 9)]
    assert [rate for rung, _, rate in rounds if rung == 2] == [8e-4, 4e-4, 2e-4]
    assert progress.arms[0].choices[0] == {LR: 8e-4}
    assert full[-1].name == progress.arms[0].repetitions[0].name
    assert "rung 2" in full[9].title
    csv = results_csv(gather(plan, Folder(folder.path)))
    assert csv.count("trial, rung 1") == 4 * 3 * 9
    assert csv.count(",repetition,") == 12


def test_a_round_without_a_result_ends_a_search(tmp_path: Path) -> None:
    plan, folder = study(tmp_path, select={"over": {LR: NINE}, "method": "halving", "nested": False}, seeds=1)
    search = plan.searches(plan.arms[0])[0]
    for cell in selection(plan, folder).trials(search):
        write_cell(plan, folder, cell, 20)
    for cell in selection(plan, Folder(folder.path)).trials(search)[9:]:
        folder.fail(cell.name, "no")
    progress = Progress(plan, Folder(folder.path))
    assert len(progress.arms[0].trials) == 12
    assert [one.name for one in progress.undecided] == ["Full"]


@pytest.mark.parametrize(("settings", "sizes"), [(3, [3, 1]), (5, [5, 2]), (9, [9, 3, 1]), (26, [26, 9, 3])])
def test_rounds(tmp_path: Path, settings: int, sizes: list[int]) -> None:
    select = {"over": {LR: [i + 1 for i in range(settings)]}, "method": "halving"}
    found = study(tmp_path, select=select)[0].study.select
    assert found is not None
    assert found.rung_sizes == sizes
    assert found.budget == sum(sizes)


def test_steps_are_cut_like_epochs(tmp_path: Path) -> None:
    base = {**BASE, "trainer": {"max_epochs": -1, "max_steps": 100}}
    plan, _ = study(tmp_path, base=base, select={"over": {LR: RATES}, "method": "halving"})
    search = plan.searches(plan.arms[0])[0]
    (cell,) = plan.setting(search, {LR: 1e-4}, 1, 3).cells
    assert cell.config["trainer"] == {"max_epochs": -1, "max_steps": 34}
    with pytest.raises(UserError, match=r"trainer.max_steps, which should be at least 3 but is 2 in the arm 'Full'"):
        study(tmp_path, base={**BASE, "trainer": {"max_steps": 2}}, select={"over": {LR: RATES}, "method": "halving"})


def test_a_setting_holds_a_trial_for_each_seed(tmp_path: Path) -> None:
    plan, _ = study(tmp_path, select={"over": {LR: RATES}, "seeds": [7, 8]})
    found = plan.settings(plan.searches(plan.arms[0])[0])
    assert [type(one) for one in found] == [Setting] * 3
    assert [cell.seed for one in found for cell in one.cells] == [7, 8] * 3

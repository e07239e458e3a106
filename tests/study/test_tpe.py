"""Selection by Optuna: the same trials however they are run, and pruning."""

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftlit.__main__ import main
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import read_study
from ftlit.study.selection.tpe import Tpe
from ftlit.study.selection.trials import selection
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from tests.support.study.launched import opened, six_cells
from tests.support.study.synthetic import write_cell

LR = "model.optimizer.init_args.lr"


def searching(folder: Path, model: str, data: str, **select: Any) -> Plan:
    """A study whose arms search a learning rate."""
    six_cells(folder, model, data)
    file = folder / "six.yaml"
    over = {LR: {"low": 1e-5, "high": 1e-1, "log": True}}
    study = yaml.safe_load(file.read_text())
    study |= {"seeds": 1, "select": {"over": over, "method": "tpe", "trials": 6, **select}}
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return Plan(read_study(file))


def tried(plan: Plan, folder: Folder, stop_after: int | None = None) -> dict[str, list[float]]:
    """The learning rates that each arm tries when every cell ends at once, with results that are best near 3e-4."""
    done, choices = 0, selection(plan, folder, may_propose=True)
    while left := Progress(plan, folder, choices).in_state("pending"):
        for cell in left:
            write_cell(plan, folder, cell, 20)
            done += 1
            if done == stop_after:
                return {}
    return {arm.arm.name: [cell.chosen[LR] for cell in arm.trials] for arm in Progress(plan, folder).arms}


@pytest.mark.slow
def test_the_same_trials_after_an_interruption(tmp_path: Path) -> None:
    plans = [searching(tmp_path / name, "tiny", "rows") for name in ("whole", "broken")]
    folders = [opened(plan) for plan in plans]
    whole = tried(plans[0], folders[0])
    tried(plans[1], folders[1], stop_after=5)
    assert tried(plans[1], Folder(folders[1].path)) == whole
    assert [len(rates) for rates in whole.values()] == [6, 6]
    assert all(len(set(rates)) == 6 for rates in whole.values())


@pytest.mark.slow
def test_the_best_trial_is_chosen(tmp_path: Path) -> None:
    plan = searching(tmp_path, "tiny", "rows")
    folder = opened(plan)
    tried(plan, folder)
    for arm in Progress(plan, folder).arms:
        scores = {cell.chosen[LR]: folder.score(cell, "accuracy") for cell in arm.trials}
        assert scores[arm.choices[0][LR]] == max(scores.values())  # type: ignore[type-var]


def test_status_asks_for_nothing(tmp_path: Path) -> None:
    plan = searching(tmp_path, "tiny", "rows")
    assert Progress(plan, Folder(plan.study.folder)).counts == {"pending": 2 * 6}  # a trial is the repetition
    assert not plan.study.folder.exists()


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_stopped(tmp_path: Path, tiny: Any, sentiment: str) -> None:
    plan = searching(tmp_path, tiny(), sentiment, prune=True)
    folder = opened(plan)
    arm, search = plan.searches(plan.arms[0])[0], Tpe(plan, folder, may_propose=True)
    study = search._study(arm)
    for _ in range(5):  # earlier trials that were right from the first step on
        trial = search._propose(arm)
        for step in range(1, 40):
            study._storage.set_trial_intermediate_value(trial._trial_id, step, 1.0)
        study.tell(trial.number, 1.0)
    cell = search._cells(arm, search._propose(arm))[0]
    folder.write_config(cell)
    main(["fit", "--config", str(folder.config(cell.name)), "--trainer.enable_progress_bar=false"])
    run_dir = folder.run_dir(cell.name)
    assert (run_dir / "pruned").is_file()
    epochs = [row["epoch"] for row in csv.DictReader((run_dir / "metrics.csv").open()) if row["val/accuracy"]]
    assert epochs == ["0"]  # of two
    assert search._tell_finished(arm) is False
    assert study.get_trials()[-1].state.name == "PRUNED"
    assert search.best(arm) == study.trials[0].params

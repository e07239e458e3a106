"""Selection by Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), kept in the study's folder.

Each arm asks for one trial after the other, and what a trial draws depends on the study's seed, the arm's finished trials and
the trial's number alone: so the same values are tried however many cells run at a time, and after any interruption.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from ftlit.errors import UserError
from ftlit.metrics.direction import lower_is_better
from ftlit.study.plan.axes import bounds
from ftlit.study.plan.cells import Arm, Cell, Plan
from ftlit.study.state.folder import Folder
from ftlit.util.settings import value_at, with_value

STORAGE = "optuna.db"
PRUNED = "pruned"  # a file in the run folder of a trial that was stopped
STARTUP = 4  # random trials of an arm before the estimator has anything to go by


class Tpe:
    """Trials that follow from those before them.

    Args:
        plan: The study.
        folder: Where its cells and Optuna's storage are.
        may_propose: Whether new trials may be asked for, which is for those who run them.

    Raises:
        UserError: Optuna is not installed.
    """

    def __init__(self, plan: Plan, folder: Folder, may_propose: bool = False) -> None:
        assert plan.study.select is not None
        self.plan, self.folder, self.select, self.may_propose = plan, folder, plan.study.select, may_propose
        self.metric = plan.study.compare.metric
        self.storage = storage_url(folder.path)
        self._optuna = optuna()

    def trials(self, arm: Arm) -> list[Cell]:
        if not self._exists:
            return []
        if self.may_propose and self._tell_finished(arm):
            self._ask(arm)
        return [cell for trial in self._known(arm) for cell in self._cells(arm, trial)]

    def best(self, arm: Arm) -> dict[str, Any] | None:
        if not self._exists:
            return None
        done = [trial for trial in self._known(arm) if trial.state.is_finished()]
        if len(done) < (self.select.trials or 0) or not any(trial.state.name == "COMPLETE" for trial in done):
            return None
        return self._values(self._study(arm).best_trial.params)

    @property
    def _exists(self) -> bool:
        return (self.folder.path / "study.json").is_file()

    def _known(self, arm: Arm) -> list[Any]:
        return self._study(arm).get_trials(deepcopy=False)

    def _tell_finished(self, arm: Arm) -> bool:
        """Tell Optuna of trials that have ended; whether all have, and more are to come."""
        with self._alone():
            study = self._study(arm)
            for trial in study.get_trials(deepcopy=False, states=[self._optuna.trial.TrialState.RUNNING]):
                cells = self._cells(arm, trial)
                scores = [self.folder.score(cell, self.metric) for cell in cells]
                if any(score is None for score in scores):
                    return False
                self._tell(study, trial, cells, [score for score in scores if score is not None])
            return len(study.get_trials(deepcopy=False)) < (self.select.trials or 0)

    def _tell(self, study: Any, trial: Any, cells: list[Cell], scores: list[float]) -> None:
        mean, states = sum(scores) / len(scores), self._optuna.trial.TrialState
        pruned = any((self.folder.run_dir(cell.name) / PRUNED).exists() for cell in cells)
        state = states.FAIL if mean != mean else states.PRUNED if pruned else states.COMPLETE
        study.tell(trial.number, mean if state is states.COMPLETE else None, state=state, skip_if_finished=True)

    def _ask(self, arm: Arm) -> Any:
        with self._alone():
            study = self._study(arm)
            number = len(study.get_trials(deepcopy=False))
            seed = int(hashlib.sha256(f"{self.select.seed} {number}".encode()).hexdigest()[:8], 16)
            study.sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
            trial = study.ask(self._distributions())
            return study.get_trials(deepcopy=False)[trial.number]

    def _distributions(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, values in self.select.over.items():
            if isinstance(values, list):
                found[key] = self._optuna.distributions.CategoricalDistribution(range(len(values)))
            else:
                low, high, log = bounds(key, values)
                found[key] = self._optuna.distributions.FloatDistribution(low, high, log=log)
        return found

    def _values(self, params: dict[str, Any]) -> dict[str, Any]:
        """What Optuna drew; of a list, a place in it."""
        over = self.select.over
        return {key: over[key][value] if isinstance(over[key], list) else value for key, value in params.items()}

    def _cells(self, arm: Arm, trial: Any) -> list[Cell]:
        chosen = self._values(trial.params)
        cells = [self.plan.trial(arm, chosen, seed, trial.number) for seed in self.select.seeds]
        if not self.select.prune:
            return cells
        return [with_pruning(cell, study_name(arm), self.metric) for cell in cells]

    def _study(self, arm: Arm) -> Any:
        direction = "minimize" if lower_is_better(self.metric) else "maximize"
        name = study_name(arm)
        return self._optuna.create_study(
            storage=self.storage, study_name=name, direction=direction, load_if_exists=True, pruner=pruner()
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Inside, no other runner asks."""
        with FileLock(self.folder.path / "claims" / "optuna"):
            yield


def optuna() -> Any:
    """Optuna, without its messages.

    Raises:
        UserError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("select.method: tpe needs Optuna; install it by: pip install -e '.[study]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def pruner() -> Any:
    """Stops trials that are below the median of the earlier ones at the same step."""
    return optuna().pruners.MedianPruner(n_startup_trials=STARTUP)


def storage_url(folder: Path) -> str:
    """Where Optuna keeps the trials of a study."""
    return f"sqlite:///{(folder / STORAGE).absolute()}"


def stored(folder: Path) -> bool:
    """Whether a folder has such trials."""
    return (folder / STORAGE).is_file()


def study_name(arm: Arm) -> str:
    """The name of an arm in Optuna's storage."""
    return arm.name


def with_pruning(cell: Cell, name: str, metric: str) -> Cell:
    """A trial that reports its validations, and stops when it falls behind.

    It is another run than one that goes to its end, and so its config says so.
    """
    callback = {
        "class_path": "ftlit.study.pruning.Pruning",
        "init_args": {"study": name, "trial": cell.trial, "metric": metric},
    }
    callbacks = value_at(cell.config, "trainer.callbacks") or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    config = with_value(cell.config, "trainer.callbacks", [*callbacks, callback])
    return replace(cell, config=config)

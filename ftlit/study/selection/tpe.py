"""Selection by Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), kept in the study's folder.

Each search proposes one trial after the other, and the values of a trial depend only on the selection's seed, the search's
finished trials and the trial's number. So the same values are tried however many cells run at a time, and after any
interruption.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from ftlit.errors import UserError
from ftlit.study.plan.axes import bounds
from ftlit.study.plan.cells import Cell, Plan, Search
from ftlit.study.state.direction import study_lower_is_better
from ftlit.study.state.folder import Folder
from ftlit.util.settings import value_at, with_value

STORAGE = "optuna.db"
PRUNED = "pruned"  # a file in the run folder of a pruned trial
STARTUP_TRIALS = 4  # random trials of each search before the estimator is used


class Tpe:
    """Trials that Optuna proposes from the results of earlier trials.

    Args:
        plan: The study.
        folder: The folder of the study, which holds Optuna's storage.
        may_propose: Whether new trials may be proposed. Only those who run the trials set this.

    Raises:
        UserError: Optuna is not installed.
    """

    def __init__(self, plan: Plan, folder: Folder, may_propose: bool = False) -> None:
        assert plan.study.select is not None
        self.plan, self.folder, self.select, self.may_propose = plan, folder, plan.study.select, may_propose
        self.metric = plan.study.compare.primary
        self.storage = storage_url(folder.path)
        self._optuna = optuna()

    def trials(self, search: Search) -> list[Cell]:
        if not self._exists:
            return []
        if self.may_propose and self._tell_finished(search):
            self._propose(search)
        return [cell for trial in self._known(search) for cell in self._cells(search, trial)]

    def best(self, search: Search) -> dict[str, Any] | None:
        if not self._exists:
            return None
        done = [trial for trial in self._known(search) if trial.state.is_finished()]
        if len(done) < (self.select.trials or 0) or not any(trial.state.name == "COMPLETE" for trial in done):
            return None
        return self._values(self._study(search).best_trial.params)

    @property
    def _exists(self) -> bool:
        return (self.folder.path / "study.json").is_file()

    def _known(self, search: Search) -> list[Any]:
        return self._study(search).get_trials(deepcopy=False)

    def _tell_finished(self, search: Search) -> bool:
        """Report finished trials to Optuna; returns whether all have finished and the search needs more."""
        with self._alone():
            study = self._study(search)
            for trial in study.get_trials(deepcopy=False, states=[self._optuna.trial.TrialState.RUNNING]):
                cells = self._cells(search, trial)
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

    def _propose(self, search: Search) -> Any:
        with self._alone():
            study = self._study(search)
            number = len(study.get_trials(deepcopy=False))
            source = f"{self.select.seed} {number}" if search.own is None else f"{self.select.seed} {search.own} {number}"
            seed = int(hashlib.sha256(source.encode()).hexdigest()[:8], 16)
            study.sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
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
        """The values of a trial. For a list, Optuna draws an index."""
        over = self.select.over
        return {key: over[key][value] if isinstance(over[key], list) else value for key, value in params.items()}

    def _cells(self, search: Search, trial: Any) -> list[Cell]:
        chosen = self._values(trial.params)
        cells = [self.plan.trial(search.arm, chosen, seed, trial.number) for seed in search.seeds]
        if not self.select.prune:
            return cells
        return [with_pruning(cell, search.name, self.metric) for cell in cells]

    def _study(self, search: Search) -> Any:
        direction = "minimize" if study_lower_is_better(self.plan.study, self.folder) else "maximize"
        return self._optuna.create_study(
            storage=self.storage, study_name=search.name, direction=direction, load_if_exists=True, pruner=pruner()
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the storage, so that only one runner proposes trials at a time."""
        with FileLock(self.folder.path / "claims" / "optuna"):
            yield


def optuna() -> Any:
    """Import Optuna and silence its messages.

    Raises:
        UserError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("select.method: tpe needs Optuna; install it with: pip install -e '.[study]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def pruner() -> Any:
    """The pruner, which stops trials that are worse than the median of earlier trials at the same step."""
    return optuna().pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)


def storage_url(folder: Path) -> str:
    """The URL of the database in which Optuna keeps the trials of a study."""
    return f"sqlite:///{(folder / STORAGE).absolute()}"


def has_storage(folder: Path) -> bool:
    """Whether the folder of a study has such a database."""
    return (folder / STORAGE).is_file()


def with_pruning(cell: Cell, name: str, metric: str) -> Cell:
    """Add the pruning callback to a trial.

    A pruned run differs from one that trains to its end, so the callback is part of the config, which names the cell.
    """
    callback = {
        "class_path": "ftlit.study.pruning.Pruning",
        "init_args": {"study": name, "trial": cell.trial, "metric": metric},
    }
    callbacks = value_at(cell.config, "trainer.callbacks") or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    config = with_value(cell.config, "trainer.callbacks", [*callbacks, callback])
    return replace(cell, config=config)

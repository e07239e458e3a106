"""Stop trials that fall behind the others of their arm."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from ftlit.study.selection.tpe import PRUNED, has_storage, optuna, pruner, storage_url
from ftlit.util.private import trial_id


class Pruning(Callback):
    """Reports each validation to the study's Optuna storage, and stops the run if the pruner decides so.

    Outside a study's folder it does nothing, so the same config can be run on its own to its end.

    Args:
        study: Name of the arm's study in the storage.
        trial: Number of the trial.
        metric: Metric to report.
    """

    def __init__(self, study: str, trial: int, metric: str) -> None:
        self.study, self.number, self.metric = study, trial, metric
        self.trial: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir).absolute().parents[1]  # the study's folder; the run is in its cells/
        if stage == "fit" and trainer.is_global_zero and has_storage(folder):
            library = optuna()
            known = library.load_study(storage=storage_url(folder), study_name=self.study, pruner=pruner())
            self.trial = library.Trial(known, trial_id(known.get_trials(deepcopy=False)[self.number]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.trial is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self.trial.report(float(trainer.callback_metrics[f"val/{self.metric}"]), trainer.global_step)
        if self.trial.should_prune():
            trainer.should_stop = True
            (Path(trainer.default_root_dir) / PRUNED).write_text(f"step {trainer.global_step}\n")

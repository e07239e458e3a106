"""Stop a trial that falls behind the others of its arm."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from ftlit.study.state.tpe import PRUNED, optuna, pruner, storage_url, stored
from ftlit.util.private import trial_id


class Pruning(Callback):
    """Reports each validation to the study's storage, and stops the run when the pruner says so.

    Outside a study's folder it does nothing, so that the same config runs alone, to its end.

    Args:
        study: Name of the arm's study in the storage.
        trial: Number of the trial.
        metric: What is reported.
    """

    def __init__(self, study: str, trial: int, metric: str) -> None:
        self.study, self.number, self.metric = study, trial, metric
        self.trial: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir).absolute().parents[1]  # of the study that has the run in its cells/
        if stage == "fit" and trainer.is_global_zero and stored(folder):
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

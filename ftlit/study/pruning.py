"""Stop a trial that falls behind the others of its arm."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from ftlit.study.tpe import PRUNED, optuna, pruner


class Pruning(Callback):
    """Reports each validation to Optuna's storage, and stops the run when the pruner says so.

    Args:
        storage: URL of the storage.
        study: Name of the arm's study in it.
        trial: Number of the trial.
        metric: What is reported.
    """

    def __init__(self, storage: str, study: str, trial: int, metric: str) -> None:
        self.metric = metric
        library = optuna()
        found = library.load_study(storage=storage, study_name=study, pruner=pruner())
        self.trial = library.Trial(found, found.get_trials(deepcopy=False)[trial]._trial_id)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        self.trial.report(float(trainer.callback_metrics[f"val/{self.metric}"]), trainer.global_step)
        if self.trial.should_prune():
            trainer.should_stop = True
            (Path(trainer.default_root_dir) / PRUNED).write_text(f"step {trainer.global_step}\n")

"""Open the run folder once training has begun, so that a run that cannot start leaves nothing."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lightning import Callback, LightningModule, Trainer

from ftlit.errors import UserError, in_a_sentence, settings, user_error
from ftlit.training.trainer import RunParts
from ftlit.util.private import starts_processes


class Opening(Callback):
    """Opens the run folder after the first optimizer step or accumulated batch, and before it where there are loggers.

    By then the optimizer, its schedule, the loops of the trainer and a batch with its gradients have been made, so that
    whatever a library has against the settings is known. Nothing is computed twice, and no random number is drawn.

    Args:
        write: Writes the first files of the run. Called once, in every process.
        parts: The trainer of the run, and its record, which gets errors from the moment at which the folder is open.
    """

    def __init__(self, write: Callable[[], None], parts: RunParts) -> None:
        self.write, self.failures = write, parts.record.failures
        # They write files or start a run of their own as soon as the trainer knows them.
        self.loggers = [logger for logger in parts.trainer.loggers if logger is not parts.metrics_file]
        self.opened, self._stack = False, ExitStack()

    @contextmanager
    def around(self, trainer: Trainer) -> Iterator[None]:
        """Open the folder while the trainer works inside the context, at the latest at its end.

        Raises:
            UserError: Something was raised before the folder was open. Errors of training are raised as they are.
        """
        trainer.callbacks.insert(0, self)  # type: ignore[attr-defined]
        trainer.loggers = [logger for logger in trainer.loggers if logger not in self.loggers]
        try:
            with self._stack:
                if starts_processes(trainer):  # what is set there does not come back
                    self.open(trainer)
                yield
        except Exception as error:
            if self.opened or user_error(error) is not None:
                raise
            raise UserError(f"the run cannot start: {in_a_sentence(error)}") from error

    def open(self, trainer: Trainer) -> None:
        """Open the folder, unless it is open."""
        if not self.opened:
            trainer.loggers = [*trainer.loggers, *self.loggers]
            with settings("run_dir"):
                self.write()
            self.opened = True
            self._stack.enter_context(self.failures())

    def after_interruption(self) -> str:
        """What an interrupted run has left, for the line about its end."""
        return "--resume goes on" if self.opened else "nothing was written"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.loggers:  # callbacks may write to them from now on
            self.open(trainer)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self.open(trainer)

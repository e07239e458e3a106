"""Stop a run in order when its process is asked to: after the current batch, with a checkpoint."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ftlit.errors import Stopped
from ftlit.training.resume import LastCheckpoint
from ftlit.util.private import agree_before_batches, is_accumulating, leave_signals_alone, training_ends, validation_is_due

SIGNALS = (signal.SIGTERM, signal.SIGINT)
EVERY = 16  # batches of an evaluation after which several ranks agree


class Interruption(Checkpoint):
    """Stops a run after SIGTERM or Ctrl-C: training and its validation with a checkpoint, other evaluations without.

    All ranks stop at the same batch, whichever of them has received the signal. Further signals change nothing.

    Args:
        last: The callback that writes last.ckpt; None if nothing is trained.
    """

    def __init__(self, last: LastCheckpoint | None = None) -> None:
        self.last = last
        self._signal, self._agreed = 0, False

    @contextmanager
    def listening(self, rank: int, after: Callable[[], str]) -> Iterator[None]:
        """Receive signals inside the context, and say on rank zero where the run has stopped.

        Args:
            rank: The rank of this process.
            after: Returns what was saved or what to do next, for the line.
        """
        earlier = {number: signal.getsignal(number) for number in SIGNALS}
        heard = [number for number in SIGNALS if earlier[number] != signal.SIG_IGN]
        main = threading.current_thread() is threading.main_thread()
        for number in heard if main else ():
            signal.signal(number, self._note)
        try:
            yield
        except Stopped as stopped:
            if rank == 0:
                print(f"{stopped.said}, {after()}", file=sys.stderr, flush=True)
            raise
        finally:
            for number in heard if main else ():
                signal.signal(number, earlier[number])

    @contextmanager
    def outliving_workers(self) -> Iterator[None]:
        """Stop at the last checkpoint if a signal to all processes of the run has ended the workers of a loader, too."""
        try:
            yield
        except RuntimeError as error:
            if not self._signal or not str(error).startswith("DataLoader worker") or self.last is None:
                raise
            raise Stopped(128 + self._signal, f"stopped at step {max(self.last.step, 0)}") from None

    def _note(self, number: int, frame: Any) -> None:
        self._signal = self._signal or number
        # PyTorch's handler would raise anywhere for workers of a loader that this signal has ended, too; the loader still does.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        leave_signals_alone(trainer)
        agree_before_batches(trainer, lambda: self._agree(trainer))

    def _agree(self, trainer: Trainer) -> None:
        """Learn whether any rank has received a signal. Every rank must call this."""
        self._agreed = trainer.strategy.reduce_boolean_decision(bool(self._signal), all=False)

    def _asked(self, trainer: Trainer) -> bool:
        return bool(self._signal) if trainer.world_size == 1 else self._agreed

    # Training

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._asked(trainer) and not is_accumulating(trainer) and not validation_is_due(trainer):
            self._stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._asked(trainer):
            self._stop(trainer)

    # Evaluations

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._look(trainer, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, ended=True)

    on_test_start, on_test_batch_end = on_validation_start, on_validation_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, ended=True)

    def _look(self, trainer: Trainer, batch_idx: int = 0, ended: bool = False) -> None:
        if trainer.world_size > 1 and batch_idx % EVERY == 0:
            self._agree(trainer)
        if not self._asked(trainer) or trainer.sanity_checking:
            return
        if trainer.state.fn != "fit":
            raise self._stopped(trainer)
        if not is_accumulating(trainer) and (ended or not training_ends(trainer)):  # a run that has ended trains no further
            self._stop(trainer, unfinished_validation=not ended)

    def _stop(self, trainer: Trainer, unfinished_validation: bool = False) -> None:
        assert self.last is not None
        if unfinished_validation or trainer.global_step != self.last.step:
            self.last.save(trainer, unfinished_validation)
        raise self._stopped(trainer)

    def _stopped(self, trainer: Trainer) -> Stopped:
        code = 128 + (self._signal or signal.SIGTERM)
        # Another code of a helping process would make Lightning kill this one.
        return Stopped(code if trainer.is_global_zero else 0, f"stopped at step {trainer.global_step}")

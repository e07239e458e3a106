"""Train a task and evaluate it: `ftlit.fit` and the command `fit`."""

from pathlib import Path
from typing import Any

import yaml
from lightning import seed_everything
from lightning.pytorch.utilities import rank_zero_only

from ftlit.commands.config_file import written_config
from ftlit.commands.evaluate import Evaluation
from ftlit.commands.links import check_links, check_vocabulary
from ftlit.commands.opening import Opening
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError, settings
from ftlit.exports.run import Run
from ftlit.runs.checkpoint import check_order, check_whole, find_checkpoint, read_checkpoint
from ftlit.runs.files import CONFIG, LAST, RECORD
from ftlit.runs.folder import check_free, clear, remove_parts, run_folder
from ftlit.runs.lock import RunLock
from ftlit.runs.loggers import send_config, tracked_run
from ftlit.runs.metrics_file import rows_before
from ftlit.runs.reading import RunFolder
from ftlit.runs.same_config import check_same_config
from ftlit.runs.secrets import hidden, write_config
from ftlit.tasks import TaskModule
from ftlit.tasks.shared.teacher import check_same_teacher
from ftlit.training.parameters import parameter_counts
from ftlit.training.trainer import RunOptions, RunParts
from ftlit.util.startup import quiet


def fit(
    model: TaskModule,
    data: TaskData,
    run_dir: str | Path = "runs/latest",
    trainer: dict[str, Any] | RunParts | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    test_after_fit: bool = False,
    evaluate_untrained: bool = False,
    patience: int | None = 3,
    seed: int = 0,
    training_checks: bool = True,
    save_every_n_steps: int | None = None,
    keep_last: bool = True,
    ckpt_path: str | None = None,
    config: str | None = None,
) -> Run:
    """Train a task and evaluate its best checkpoint.

    Args:
        model: The task, created with ``**data.task_arguments()``. Its new weights are drawn at this moment: to reproduce a
            run, call `lightning.seed_everything(seed)` before.
        data: The data of the task.
        run_dir: Folder of the run, for config, metrics, checkpoints and predictions.
        trainer: Arguments of Lightning's Trainer, such as ``{"max_epochs": 5}``. The command line passes a trainer instead.
        resume: Whether to continue the run in `run_dir`.
        overwrite: Whether to replace the run in `run_dir`.
        test_after_fit: Whether to evaluate the best checkpoint on test too.
        evaluate_untrained: Whether to evaluate the untrained model first, to show the gain.
        patience: Number of validations without improvement after which training stops; None disables early stopping.
        seed: Seed of dropout and of the order of the examples.
        training_checks: Whether to stop when frozen weights change, trained ones do not, or dropout is in the wrong mode.
        save_every_n_steps: Number of steps after which last.ckpt is saved; None saves it every ten minutes.
        keep_last: Whether to keep last.ckpt once the run has finished, so that it can be trained further.
        ckpt_path: A whole checkpoint of another run from which training continues.
        config: Content of config.yaml; by default it describes the arguments of `model`, `data` and `trainer`.

    Returns:
        The finished run.

    Raises:
        UserError: There is a mistake in the arguments, the data or the run folder.
    """
    quiet()
    folder, splits = run_folder(run_dir), ["validation", "test"] if test_after_fit else ["validation"]
    options = RunOptions(seed, patience, training_checks, save_every_n_steps, keep_last)
    with RunLock(folder) as lock:
        if (folder / RECORD).exists():
            take(lock)
        start = start_checkpoint(folder, resume, ckpt_path)
        begun_from = {"--ckpt_path": start, "--model.init_from": model.init_from}
        check_run_dir(folder, resume, overwrite, begun_from)
        data.order_seed = data.hparams["order_seed"] = seed
        check_links(model, data)
        arguments = trainer if isinstance(trainer, dict) else {}
        own = {"evaluate_untrained": evaluate_untrained, "test_after_fit": test_after_fit, "ckpt_path": ckpt_path}
        text = config or described(model, data, folder, arguments, options, own, resume)
        parts = run_parts(trainer, folder, options, start == folder / LAST, model)
        evaluation = Evaluation(folder, parts, model, data)
        with settings("the run cannot start"):
            begun_at = check_beginning(evaluation, parts, start, splits, resume)

        def write() -> None:
            take(lock)
            check_run_dir(folder, resume, overwrite, begun_from)  # again, since another process may have been faster
            open_folder(evaluation, overwrite, text, parts, seed)

        interruption, opening = parts.interruption, Opening(write, parts)
        listening = interruption.listening(parts.trainer.global_rank, opening.after_interruption)
        with listening, opening.around(parts.trainer), interruption.outliving_workers():
            if resume and not start:
                tell("there is no checkpoint yet: training begins at step 0")
            if evaluate_untrained and not start:
                evaluation.evaluate_untrained(splits)
            train(parts, model, data, seed, start, begun_at)
            opening.open(parts.trainer)  # if there was no batch left to train on
            evaluation.evaluate_best(splits)
        if not keep_last and parts.trainer.is_global_zero and RunFolder(folder).best_checkpoint:
            (folder / LAST).unlink(missing_ok=True)
    return Run(folder)


@rank_zero_only
def take(lock: RunLock) -> None:
    """Lock the run folder on rank zero, for all ranks of the run."""
    lock.take()


@rank_zero_only
def tell(text: str) -> None:
    """Print a line on rank zero."""
    print(text, flush=True)


def run_parts(trainer: Any, folder: Path, options: RunOptions, resumed: bool, model: TaskModule) -> RunParts:
    """The parts of a run that the command line has made, or those with a trainer of the given arguments."""
    if isinstance(trainer, RunParts):
        return trainer
    parts = RunParts(folder, options, resumed)
    parts.make_trainer(trainer or {}, model)
    return parts


def described(
    model: TaskModule,
    data: TaskData,
    folder: Path,
    trainer: dict[str, Any],
    options: RunOptions,
    others: dict[str, Any],
    resume: bool,
) -> str:
    """The config of a run that was started from Python; to resume one, it must be that of the run."""
    config = written_config(model, data, folder, trainer, options, others)
    if resume:
        check_same_config(RunFolder(folder).config, yaml.safe_load(config))
    return config


def train(
    parts: RunParts, model: TaskModule, data: TaskData, seed: int, start: Path | None, begun_at: tuple[int, bool] | None
) -> None:
    """Train a task, from the start or from a checkpoint at a step, where early stopping may have ended."""
    seed_everything(seed, workers=True, verbose=False)
    step, stopped = begun_at or (-1, False)
    parts.trainer.fit(model, datamodule=data, ckpt_path=start, weights_only=True)
    if parts.trainer.global_step == step:
        why = "early stopping" if stopped and parts.resumed else "trainer.max_epochs, max_steps or max_time"
        more = "" if stopped and parts.resumed else "raise it, or "
        tell(
            f"nothing was left to train, since {why} had ended training at step {step}; to train on, {more}continue in another "
            f"--run_dir with --ckpt_path {start}"
        )


def start_checkpoint(folder: Path, resume: bool, ckpt_path: str | None) -> Path | None:
    """The checkpoint from which training continues: the run's own if it is resumed, or the given one."""
    if resume and (own := RunFolder(folder).last_checkpoint):
        return own
    return find_checkpoint(folder, ckpt_path) if ckpt_path else None


def check_run_dir(folder: Path, resume: bool, overwrite: bool, begun_from: dict[str, Any]) -> None:
    """Check on rank zero that no earlier run is overwritten; other ranks may already see files that rank zero has written."""
    if getattr(rank_zero_only, "rank", 0) == 0:
        check_free(folder, resume, overwrite, begun_from)


def prepare(model: TaskModule, data: TaskData, splits: list[str]) -> None:
    """Encode the training data and the given evaluation splits.

    Raises:
        UserError: A split is missing, a text does not fit into a batch, or an option has no effect.
    """
    data.setup("fit")
    data.require(["train", *splits])
    data.check_batches(["train", *splits])
    check_vocabulary(model, data)
    if model.distillation is not None:
        columns = data.encoded["train"].column_names
        model.teacher.check_inputs(data.longest_text(), len(data.input_columns()) > 1, "token_type_ids" in columns)
    if data.unlabelled_source is not None and model.auxiliary is None and not (model.distillation and model.teaches_texts):
        raise UserError("data.unlabelled has texts for an auxiliary loss, but the task has none: set model.auxiliary")
    model.param_groups()  # raises if lr_factors match no weight


def check_beginning(
    evaluation: Evaluation, parts: RunParts, start: Path | None, splits: list[str], resume: bool
) -> tuple[int, bool] | None:
    """Prepare the data, check what training begins from, and print a summary of both; returns what `check_start` does."""
    model, data = evaluation.model, evaluation.data
    prepare(model, data, splits)
    begun_at = check_start(start, model, data, parts) if start else None
    if resume:
        evaluation.check_validation()
    evaluation.print_summary()
    return begun_at


def check_start(path: Path, model: TaskModule, data: TaskData, parts: RunParts) -> tuple[int, bool]:
    """Check that training can continue exactly from a checkpoint; returns its step, and whether early stopping ended there."""
    checkpoint = read_checkpoint(path)
    check_whole(path, checkpoint)
    check_order(checkpoint, data.resume_signature(parts.trainer))
    if parts.resumed:
        check_same_teacher(model, checkpoint)
        rows_before(parts.metrics_file.path, checkpoint["metrics_rows"])
    model.on_load_checkpoint(checkpoint)
    return checkpoint["global_step"], checkpoint.get("stopped", False)


@rank_zero_only
def open_folder(evaluation: Evaluation, overwrite: bool, config: str, parts: RunParts, seed: int) -> None:
    """Write run.json and config.yaml to an empty run folder, and send the config to the user's loggers."""
    folder = parts.run_dir
    clear(folder) if overwrite else remove_parts(folder)
    evaluation.open_record(seed)  # first, since a folder without run.json is nobody's run
    write_config(folder / CONFIG, config)
    if others := [logger for logger in parts.trainer.loggers if logger is not parts.metrics_file]:
        send_config(others, hidden(yaml.safe_load(config)) | {"parameters": parameter_counts(evaluation.model.model)})
        if run := tracked_run(others):
            parts.record.update(wandb=run)
            print(f"Weights & Biases: {run['url'] or 'offline run ' + run['id']}", flush=True)

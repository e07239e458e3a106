"""A training from its start to its results: `ftlit.fit` and the command `fit`."""

from pathlib import Path
from typing import Any

import yaml
from lightning import Trainer, seed_everything
from lightning.pytorch.utilities import rank_zero_only

from ftlit.commands.config_file import written_config
from ftlit.commands.evaluate import Evaluation
from ftlit.commands.links import check_links
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.run import Run
from ftlit.runs.checkpoint import check_order, check_whole, find_checkpoint, read_checkpoint
from ftlit.runs.files import CONFIG, LAST
from ftlit.runs.folder import check_free, clear
from ftlit.runs.loggers import send_config
from ftlit.runs.reading import RunFolder
from ftlit.runs.secrets import hidden
from ftlit.tasks import TaskModule
from ftlit.training.parameters import parameter_counts
from ftlit.training.resume import check_same_config
from ftlit.training.trainer import RunOptions, RunParts
from ftlit.util.files import write_text
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
        model: The task, made with ``**data.task_arguments()``. Its new weights are drawn when it is made: to repeat a run,
            call `lightning.seed_everything(seed)` before.
        data: Its data.
        run_dir: Folder of the run, for config, metrics, checkpoints and predictions.
        trainer: Arguments of Lightning's Trainer, such as ``{"max_epochs": 5}``. The command line gives a trainer instead.
        resume: Whether to continue the run in `run_dir`.
        overwrite: Whether to replace the run in `run_dir`.
        test_after_fit: Whether to evaluate the best checkpoint on test too.
        evaluate_untrained: Whether to evaluate the untrained model first, to show the gain.
        patience: Validations without improvement until training stops; None for never.
        seed: Decides dropout and the order of the examples.
        training_checks: Whether to stop when frozen weights change, trained ones do not, or dropout is in the wrong mode.
        save_every_n_steps: Steps from one last.ckpt to the next; None for every ten minutes.
        keep_last: Whether to keep last.ckpt once the run has finished, so that it can be trained further.
        ckpt_path: A whole checkpoint of another run to continue from.
        config: Text of config.yaml; by default it is written from the arguments of `model`, `data` and `trainer`.

    Returns:
        The finished run.

    Raises:
        UserError: A mistake in the arguments, the data or the run folder.
    """
    quiet()
    folder, splits = Path(run_dir), ["validation", "test"] if test_after_fit else ["validation"]
    options = RunOptions(seed, patience, training_checks, save_every_n_steps, keep_last)
    start = start_checkpoint(folder, resume, ckpt_path)
    check_run_dir(folder, resume, overwrite, {"--ckpt_path": start, "--model.init_from": model.init_from})
    data.order_seed = data.hparams["order_seed"] = seed
    check_links(model, data)
    arguments = trainer if isinstance(trainer, dict) else {}
    if config is None:
        own = {"evaluate_untrained": evaluate_untrained, "test_after_fit": test_after_fit, "ckpt_path": ckpt_path}
        config = written_config(model, data, folder, arguments, options, own)
        if resume:
            check_same_config(RunFolder(folder).config, yaml.safe_load(config))
    parts = trainer if isinstance(trainer, RunParts) else RunParts(folder, options, start == folder / LAST)
    if parts is not trainer:
        parts.make_trainer(arguments, model)
    prepare(model, data, splits)
    if start:  # refused here, nothing has been written yet
        check_start(start, model, data, parts.trainer)
    evaluation = Evaluation(folder, parts, model, data)
    if resume:
        evaluation.check_validation()
    evaluation.print_summary()
    open_folder(folder, overwrite, config, parts, model)
    evaluation.open_record(seed)
    with parts.record.failures():
        if evaluate_untrained and not start:
            evaluation.evaluate_untrained(splits)
        seed_everything(seed, workers=True, verbose=False)
        parts.trainer.fit(model, datamodule=data, ckpt_path=start, weights_only=True)
        evaluation.evaluate_best(splits)
    if not keep_last and parts.trainer.is_global_zero:
        (folder / LAST).unlink(missing_ok=True)
    return Run(folder)


def start_checkpoint(folder: Path, resume: bool, ckpt_path: str | None) -> Path | None:
    """The checkpoint that training continues from: the run's own if it is resumed, or the one that is named."""
    if resume and (own := RunFolder(folder).last_checkpoint):
        return own
    return find_checkpoint(folder, ckpt_path) if ckpt_path else None


def check_run_dir(folder: Path, resume: bool, overwrite: bool, begun_from: dict[str, Any]) -> None:
    """Refuse to start over an earlier run; other ranks may find what rank zero has written already."""
    if getattr(rank_zero_only, "rank", 0) == 0:
        check_free(folder, resume, overwrite, begun_from)


def prepare(model: TaskModule, data: TaskData, splits: list[str]) -> None:
    """Encode the data for a training that is evaluated on some splits.

    Raises:
        UserError: A split is missing or has a text that no batch can hold, or an option finds nothing to apply to.
    """
    data.setup("fit")
    data.require(["train", *splits])
    data.check_batches(["train", *splits])
    if data.unlabelled_source is not None and model.auxiliary is None:
        raise UserError("data.unlabelled has texts for an auxiliary loss, and there is none: set model.auxiliary")
    model.param_groups()  # refuses lr_factors that find no weight


def check_start(checkpoint: Path, model: TaskModule, data: TaskData, trainer: Trainer) -> None:
    """Refuse a checkpoint from which this training cannot continue exactly."""
    check_whole(checkpoint)
    check_order(checkpoint, data.resume_signature(trainer))
    model.on_load_checkpoint(read_checkpoint(checkpoint))


@rank_zero_only
def open_folder(folder: Path, overwrite: bool, config: str, parts: RunParts, model: TaskModule) -> None:
    """Write the config into an empty run folder, and send it to the loggers of the user."""
    if overwrite:
        clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, config)
    if others := [logger for logger in parts.trainer.loggers if logger is not parts.metrics_file]:
        send_config(others, hidden(yaml.safe_load(config)) | {"parameters": parameter_counts(model.model)})

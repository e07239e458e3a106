"""The command line: Lightning's fit, validate and test with one folder per run, and plain functions for other commands."""

import json
import time
from pathlib import Path
from pydoc import locate
from typing import Any

import yaml
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from ftlit.commands.check_config import check_config
from ftlit.commands.errors_in_words import ShortErrors, with_explicit_flags
from ftlit.commands.evaluate import Evaluation
from ftlit.commands.fit import check_run_dir, fit, prepare, start_checkpoint
from ftlit.commands.given import check_environment, check_given
from ftlit.commands.links import add_links, check_pair
from ftlit.commands.planning.rehearsal import bare, rehearse
from ftlit.commands.trusted import check_trusted, evaluating, is_of_run
from ftlit.data import import_all
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError, settings
from ftlit.runs.checkpoint import find_checkpoint
from ftlit.runs.files import CONFIG
from ftlit.runs.folder import check_free, run_folder
from ftlit.runs.reading import RunFolder
from ftlit.runs.same_config import check_same_config
from ftlit.tasks import TaskModule
from ftlit.training.trainer import TRAINER_DEFAULTS, RunOptions, RunParts, trainer_arguments
from ftlit.util.files import read_whole
from ftlit.util.private import option_names, subcommand_parser
from ftlit.util.startup import quiet
from ftlit.util.trust import present_folder_last

import_all()  # short class names are those of imported classes
# Options that are arguments of `fit` under the same names.
FIT_OPTIONS = (
    *("resume", "overwrite", "test_after_fit", "evaluate_untrained", "patience", "training_checks", "save_every_n_steps"),
    *("keep_last", "ckpt_path"),
)
# Commands that are plain functions, by their modules.
FUNCTIONS = {
    "predict": "ftlit.exports.predict",
    "export": "ftlit.exports.export",
    "compress": "ftlit.exports.compress.command",
    "calibrate": "ftlit.insight.calibration.command",
    "drift": "ftlit.insight.drift.command",
    "audit": "ftlit.insight.audit.command",
    "errors": "ftlit.insight.errors.command",
    "update": "ftlit.commands.update.command",
    "soup": "ftlit.commands.update.soup",
    "push": "ftlit.exports.push.command",
    "serve": "ftlit.serve.command",
    "explain": "ftlit.insight.explain.command",
}


class TaskCLI(LightningCLI):
    """Lightning's command line with a folder for each run. The config has priority over a checkpoint's hyper-parameters."""

    model: TaskModule
    datamodule: TaskData

    def __init__(self, args: list[str]) -> None:
        self.began, self.asked, self.arguments = time.monotonic(), args[0], args
        if not is_of_run(args):
            present_folder_last()  # classes named by import path may lie beside the config
        self.checkpoint_asked = any(arg.partition("=")[0] == "--ckpt_path" for arg in args)
        super().__init__(
            TaskModule,
            TaskData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,  # the precision depends on the device
            parser_class=ShortErrors,
            parser_kwargs={"prog": "ftlit", "allow_abbrev": False, "default_env": True, "env_prefix": "FTLIT"},
            args=args,
        )

    # Arguments

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return only the given command, so that parsers of other commands are not built."""
        return {self.asked: LightningCLI.subcommands()[self.asked]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add = parser.add_argument
        add("--run_dir", type=str, default="runs/latest", help="Folder of the run: config, metrics, checkpoints.")
        add("--resume", action="store_true", help="Continue the run in run_dir (fit).")
        add("--overwrite", action="store_true", help="Replace the run in run_dir (fit).")
        help_text = "Time a few steps at the longest and the median batch, estimate the run, and write nothing (fit)."
        add("--plan", action="store_true", help=help_text)
        add(
            "--evaluate_untrained",
            type=bool,
            default=False,
            help="Evaluate the untrained model too, so that the gain shows (fit).",
        )
        add("--test_after_fit", type=bool, default=False, help="Evaluate the best checkpoint on test too (fit).")
        add(
            "--patience",
            type=int | None,
            default=3,
            help="Validations without improvement to stop after; null for never (fit).",
        )
        help_text = "Stop when frozen weights change, trained ones do not, or dropout is in the wrong mode (fit)."
        add("--training_checks", type=bool, default=True, help=help_text)
        help_text = "Steps from one last.ckpt to the next; null for every ten minutes (fit)."
        add("--save_every_n_steps", type=int | None, default=None, help=help_text)
        help_text = (
            "Import paths of classes outside ftlit that may be named by --config (validate, test), init_from or teacher."
        )
        add("--trust_classes", type=list[str] | str | None, default=None, help=help_text)
        help_text = "Keep last.ckpt once the run has finished, so that it can be trained further (fit)."
        add("--keep_last", type=bool, default=True, help=help_text)
        add_links(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        given = resumed(args)
        check_given(given)
        check_environment(self.asked, option_names(self._parser(self.asked)))
        with settings("the config"):
            self.config = parser.parse_args(given)
        options = self.config[self.asked]
        check_config(options)
        check_pair(locate(options.model.class_path), locate(options.data.class_path))
        options.trainer.precision = trainer_arguments(vars(options.trainer))["precision"]

    def _dump_config(self) -> None:
        if not hasattr(self, "config_dump"):
            whole = {"skip_link_targets": False, "skip_none": False, "skip_validation": True}  # it was parsed just now
            self.config_dump = json.loads(self.parser.dump(self.config, format="json", **whole))[self.subcommand]

    def _parse_ckpt_path(self) -> None:
        """Do nothing: by default, the hyper-parameters of a checkpoint silently replace the given config."""

    # The run's parts

    @property
    def options(self) -> Any:
        """The options of the given command."""
        return self.config[self.subcommand]

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return run_folder(self.options.run_dir)

    @property
    def planned(self) -> bool:
        """Whether to estimate the run instead of training."""
        return self.subcommand == "fit" and self.options.plan

    def before_instantiate_classes(self) -> None:
        run_folder(self.options.run_dir)
        check_trusted(self.arguments, self.options)
        if self.subcommand == "fit" and not self.planned:
            options, init_from = self.options, self.options.model.init_args.init_from
            start = start_checkpoint(self.run_dir, options.resume, options.ckpt_path)
            check_run_dir(
                self.run_dir, options.resume, options.overwrite, {"--ckpt_path": start, "--model.init_from": init_from}
            )
            if options.resume and (saved := self.run_dir / CONFIG).is_file():
                check_same_config(self._resolved(read_whole(saved)), self._resolved(self._config_text(options)))

    def instantiate_classes(self) -> None:
        """Create the data, the model and the trainer."""
        with settings("the run cannot start"):
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build Lightning's trainer with the callbacks of every run."""
        given, training = self.options, self.subcommand == "fit"
        options = RunOptions(
            given.seed_everything, given.patience, given.training_checks, given.save_every_n_steps, given.keep_last
        )
        resumed = training and given.resume and RunFolder(self.run_dir).last_checkpoint is not None
        self.parts = RunParts(self.run_dir, options, resumed, training)
        with settings("trainer"):
            made = super().instantiate_trainer(**kwargs)
        named = self.config_init[self.subcommand].trainer.callbacks or []
        trainer = self.parts.attach_callbacks(made, self.model, named if isinstance(named, list) else [named])
        return bare(trainer) if self.planned else trainer

    # Commands

    def fit(self, **kwargs: Any) -> None:
        """Train and evaluate, or estimate the time and memory that this takes."""
        if self.planned:
            splits = ["validation", "test"] if self.options.test_after_fit else ["validation"]
            prepare(self.model, self.datamodule, splits)
            self.plan(splits)
            return
        given = {name: self.options[name] for name in FIT_OPTIONS}
        text, seed = self._config_text(self.options), self.options.seed_everything
        fit(self.model, self.datamodule, self.run_dir, self.parts, seed=seed, config=text, **given)

    def plan(self, splits: list[str]) -> None:
        """Estimate the time and memory of training and of the evaluation on these splits."""
        self._evaluation().print_summary()
        found = rehearse(self.trainer, self.model, self.datamodule, self.options.evaluate_untrained, self.began)
        if self.trainer.is_global_zero:
            print(found.text(splits), flush=True)

    def validate(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on validation."""
        self._evaluation().evaluate_checkpoint("validation", self._checkpoint())

    def test(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on test."""
        self._evaluation().evaluate_checkpoint("test", self._checkpoint())

    def _evaluation(self) -> Evaluation:
        return Evaluation(self.run_dir, self.parts, self.model, self.datamodule)

    def _checkpoint(self) -> Path:
        """The checkpoint from the command line, else the best of the run; its config may name the one that it started from."""
        given = None if self._names_its_start() else self.options.ckpt_path
        return find_checkpoint(self.run_dir, given or "best")

    def _names_its_start(self) -> bool:
        """Whether the checkpoint is that from which a run began, whose saved config names it."""
        given, files = self.options.ckpt_path, [Path(str(file)) for file in self.options.config or []]
        runs = [RunFolder(folder) for folder in {self.run_dir, *(file.parent for file in files if file.name == CONFIG)}]
        return not self.checkpoint_asked and any(run.record and run.config.get("ckpt_path") == given for run in runs)

    def _resolved(self, text: str) -> dict[str, Any]:
        """Resolve a config, so that it contains the defaults of all classes."""
        config = self.parser.parse_args([str(self.subcommand), "--config", text])
        return yaml.safe_load(self._config_text(config[str(self.subcommand)]))

    def _config_text(self, options: Any) -> str:
        """The config that reproduces the command."""
        config = options.clone()
        config.pop("config", None)
        config.pop("plan", None)
        config.resume = config.overwrite = False
        return subcommand_parser(self).dump(config, skip_unset=False, skip_validation=True)  # it was parsed just now


def resumed(args: list[str]) -> list[str]:
    """Return the arguments of a command; to resume a run, its saved config is put first."""
    if args[0] != "fit" or "--resume" not in args:
        return args
    for i, arg in enumerate(args):
        if arg == "--run_dir" and i + 1 < len(args):
            saved = run_folder(args[i + 1])
        elif arg.startswith("--run_dir="):
            saved = run_folder(arg.split("=", 1)[1])
        else:
            continue
        if not (saved / CONFIG).is_file():
            check_free(saved, resume=True, overwrite=False)
            if not any(other.partition("=")[0] == "--config" for other in args):
                raise UserError(f"--resume: {saved} has no {CONFIG}; restore it, or give the config of the run with --config")
            return args
        return [args[0], "--config", str(saved / CONFIG), *args[1:]]
    return args


def run(args: list[str]) -> None:
    """Run a command with its arguments.

    Args:
        args: The name of the command, followed by its options.
    """
    quiet()
    if args[0] in FUNCTIONS:
        call(args)
    else:
        with evaluating(args):
            TaskCLI(args)


def call(args: list[str]) -> None:
    """Call the function of a command with the options in its arguments."""
    import inspect
    from importlib import import_module

    from jsonargparse import auto_parser

    function = getattr(import_module(FUNCTIONS[args[0]]), args[0])
    parser = auto_parser({args[0]: function}, as_positional=False, prog="ftlit", parser_class=ShortErrors)
    options = dict(parser.parse_args(with_explicit_flags(args, function))[args[0]].items())
    # `auto_cli` takes --config for a file of options, and drops it, though it may be an option of the function itself.
    function(**{name: options[name] for name in inspect.signature(function).parameters if name in options})

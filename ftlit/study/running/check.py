"""Check the configs of a study before anything runs: parse each as `fit` does, and build its objects."""

import io
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ftlit.errors import UserError, near, user_error
from ftlit.metrics.direction import unknown_direction
from ftlit.runs.files import CONFIG
from ftlit.study.plan.cells import Arm, Cell, Plan
from ftlit.study.plan.settings import Study
from ftlit.study.running.worker import clear_option_variables
from ftlit.study.state.direction import STUDY_KEY
from ftlit.study.state.folder import accelerator_of
from ftlit.util.private import subcommand_parser


@dataclass(frozen=True)
class ConfigSample:
    """A config to check.

    Args:
        title: Name of the config in error messages.
        arm: Name of the arm.
        config: The config.
    """

    title: str
    arm: str
    config: dict[str, Any]


def config_samples(plan: Plan) -> list[ConfigSample]:
    """The config of a cell for each base and each level, so that every value of every key is checked."""
    found, seen = [], set[tuple[str, ...]]()
    for arm in plan.arms:
        new = {(arm.base, axis, label) for axis, label in arm.levels.items()} - seen
        if new:
            seen |= new
            found.append(ConfigSample(f"the arm {arm.name!r}", arm.name, first_cell(plan, arm).config))
    return found


def first_cell(plan: Plan, arm: Arm) -> Cell:
    """A cell of an arm: a trial if the study has a selection, else a repetition."""
    select = plan.study.select
    if select is None:
        return plan.repetitions(arm, {})[0]
    chosen = {key: values[0] if isinstance(values, list) else values["low"] for key, values in select.over.items()}
    return plan.trial(arm, chosen, plan.searches(arm)[0].seeds[0])


def check_study(plan: Plan) -> dict[str, str]:
    """Check the configs of a study in a process that is forked like those of cells.

    Returns:
        The default precision of this machine, by the option `trainer.accelerator` of the configs.

    Raises:
        UserError: A config cannot run, a task does not have the metric, or two arms have the same config.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ftlit.study.running.preload"])
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(config_samples(plan), plan.study, theirs))
    process.start()
    theirs.close()
    precision: dict[str, str] = {}
    try:
        problem, precision = mine.recv()
    except EOFError:
        problem = f"the process that checks the configs died with exit code {process.exitcode}; try one of them with ftlit fit"
    process.join()
    if problem:
        raise UserError(problem)
    return precision


def _answer(tried: list[ConfigSample], study: Study, answer: Any) -> None:
    """Send the first error message, or an empty text, and the default precision by accelerator."""
    clear_option_variables()
    try:
        _check(tried, study)
    except UserError as error:
        answer.send((str(error), {}))
        return
    from ftlit.training.bfloat16 import default_precision

    answer.send(("", {name: default_precision(name) for name in {accelerator_of(sample.config) for sample in tried}}))


def _check(tried: list[ConfigSample], study: Study) -> None:
    from ftlit.util.startup import quiet

    quiet()
    resolved: dict[str, ConfigSample] = {}
    for sample in tried:
        text, task = _resolve(sample)
        if text in resolved and resolved[text].arm != sample.arm:
            raise UserError(f"the arms {resolved[text].arm!r} and {sample.arm!r} have the same config; leave one of them out")
        resolved[text] = sample
        check_metric(study, task, sample.title)


def check_metric(study: Study, task: Any, title: str) -> None:
    """Check that a task has the compared metric, and that it is known whether higher values are better.

    Raises:
        UserError: It does not have the metric, or nothing says which values are better.
    """
    from ftlit.tasks.shared.evaluator import metric_directions

    metric, known = study.compare.primary, task.metric_names
    for name in study.compare.metrics:
        if name not in known:
            raise UserError(f"compare.metric {name!r} is not a metric of {title}. {near(name, known)}")
    if study.compare.higher_is_better is None and metric not in metric_directions(task):
        raise UserError(f"compare.metric: {unknown_direction(metric, STUDY_KEY)}")


def _resolve(sample: ConfigSample) -> tuple[str, Any]:
    """Build the objects of a config without running it; returns the resolved config and the task.

    Raises:
        UserError: The config cannot run.
    """
    from ftlit.commands.cli import TaskCLI

    class CheckedCLI(TaskCLI):
        """The command line, which stops before it runs the command."""

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    with tempfile.TemporaryDirectory() as folder, problems(sample.title):
        file = Path(folder) / CONFIG
        file.write_text(yaml.safe_dump({**sample.config, "run_dir": f"{folder}/run"}), "utf-8")
        cli = CheckedCLI(["fit", "--config", str(file)])
        resolved = cli.options.clone()
        resolved.pop("config", None)
        resolved.pop("run_dir", None)
        text = subcommand_parser(cli).dump(resolved, skip_unset=False, skip_validation=True)
        if cli.model.distillation is not None:
            _ = cli.model.teacher  # raises if it does not fit
        return text, cli.model


@contextmanager
def problems(title: str) -> Iterator[None]:
    """Turn errors inside the block into a `UserError` that starts with a title."""
    output = io.StringIO()
    try:
        with redirect_stderr(output), redirect_stdout(io.StringIO()):
            yield
    except SystemExit as error:
        lines = [line for line in output.getvalue().splitlines() if line.startswith("error: ")]
        reason = lines[0].removeprefix("error: ") if lines else output.getvalue().strip()
        raise UserError(f"{title}: {reason}") from error
    except Exception as error:
        if (mistake := user_error(error)) is None:
            raise UserError(f"{title}: {type(error).__name__}: {error}") from error
        raise UserError(f"{title}: {mistake}") from error

"""Try a study's configs before anything runs: each is read as `fit` reads it, and its parts are made."""

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
from ftlit.runs.files import CONFIG
from ftlit.study.plan.cells import Arm, Cell, Plan
from ftlit.study.plan.file import Study
from ftlit.study.running.worker import forget_options
from ftlit.util.private import subcommand_parser


@dataclass(frozen=True)
class Sample:
    """A config to try.

    Args:
        title: What it stands for in a message.
        arm: Name of its arm.
        config: The config.
    """

    title: str
    arm: str
    config: dict[str, Any]


def samples(plan: Plan) -> list[Sample]:
    """A cell for each base and each level, so that each value of every key is in one of them."""
    found, seen = [], set[tuple[str, ...]]()
    for arm in plan.arms:
        new = {(arm.base, axis, label) for axis, label in arm.levels.items()} - seen
        if new:
            seen |= new
            found.append(Sample(f"the arm {arm.name!r}", arm.name, first_cell(plan, arm).config))
    return found


def first_cell(plan: Plan, arm: Arm) -> Cell:
    """A cell of an arm, a trial where it has some."""
    study = plan.study
    if study.select is None:
        return plan.repetitions(arm, {})[0]
    chosen = {key: values[0] if isinstance(values, list) else values["low"] for key, values in study.select.over.items()}
    return plan.trial(arm, chosen, study.select.seeds[0])


def check(plan: Plan) -> None:
    """Try the samples in a process forked from the one that cells will be forked from.

    Raises:
        UserError: One of them would not run, the metric is none of theirs, or two arms are the same.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ftlit.study.running.preload"])
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(samples(plan), plan.study, theirs))
    process.start()
    theirs.close()
    try:
        problem = mine.recv()
    except EOFError:
        problem = f"the check of the configs died with exit code {process.exitcode}; run one of them by itself with ftlit fit"
    process.join()
    if problem:
        raise UserError(problem)


def _answer(tried: list[Sample], study: Study, answer: Any) -> None:
    """Send the first problem, or an empty text."""
    forget_options()
    try:
        _check(tried, study)
        answer.send("")
    except UserError as error:
        answer.send(str(error))


def _check(tried: list[Sample], study: Study) -> None:
    from ftlit.util.startup import quiet

    quiet()
    resolved: dict[str, Sample] = {}
    for sample in tried:
        text, metrics = _made(sample)
        if text in resolved and resolved[text].arm != sample.arm:
            raise UserError(f"the arms {resolved[text].arm!r} and {sample.arm!r} have the same config; leave one of them out")
        resolved[text] = sample
        if study.compare.metric not in metrics:
            raise UserError(
                f"compare.metric {study.compare.metric!r} is not a metric of {sample.title}. "
                f"{near(study.compare.metric, metrics)}"
            )


def _made(sample: Sample) -> tuple[str, list[str]]:
    """A config as it is resolved, and the metrics of its task; its parts are made, and nothing is run.

    Raises:
        UserError: It would not run.
    """
    from ftlit.commands.cli import TaskCLI

    class Tried(TaskCLI):
        """The command line up to the point where it would begin."""

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    with tempfile.TemporaryDirectory() as folder, problems(sample.title):
        file = Path(folder) / CONFIG
        file.write_text(yaml.safe_dump({**sample.config, "run_dir": f"{folder}/run"}), "utf-8")
        tried = Tried(["fit", "--config", str(file)])
        resolved = tried.options.clone()
        resolved.pop("config", None)
        resolved.pop("run_dir", None)
        text = subcommand_parser(tried).dump(resolved, skip_unset=False, skip_validation=True)
        return text, ["loss", *tried.model.metrics["val"], *tried.model.summary_names]


@contextmanager
def problems(title: str) -> Iterator[None]:
    """Turn what goes wrong inside into a sentence that names what was tried."""
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

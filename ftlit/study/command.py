"""``python -m ftlit study``: run a study, watch its progress, and report its results."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

from ftlit.errors import UserError, near
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import parse_overrides, read_study
from ftlit.study.plan.fingerprint import use_recorded
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.util.files import read_json

HELP = """usage: ftlit study ACTION FILE [--key value ...]

FILE is a study file, or the folder of a study that has been run.

actions:
  run      run all cells that have not finished, and write the report
  status   show the progress of the study; --watch refreshes it until the study ends
  report   write report.html, report.md, results.csv and table.tex from the finished cells
  retry    run failed cells again
  diff     list pending cells, and cells in the folder that the file does not ask for

options:
  --plan             with run: measure a few steps of each kind of cell, and estimate the time and memory of the study
  --steps N          with --plan: number of steps to measure, 3 by default; 0 only counts the cells
  --jobs N           number of cells that run at a time (launch.jobs)
  --launcher NAME    local, slurm or ray (launch.launcher)
  --KEY VALUE        any key of the file: --seeds "[0, 1]" --set.trainer.max_epochs 1 --folder runs/studies/other
"""
SHORT_OPTIONS = {"--jobs": "--launch.jobs", "--launcher": "--launch.launcher", "--threads": "--launch.threads"}


def main(args: list[str]) -> None:
    """Run the command.

    Args:
        args: The action, the study file, and options.

    Raises:
        UserError: The study file or the arguments are wrong.
    """
    if not args or "-h" in args or "--help" in args:
        print(HELP, end="")
        raise SystemExit(0 if args else 2)
    action, *rest = args
    if action not in ACTIONS:
        raise UserError(f"ftlit study has no action {action!r}. {near(action, ACTIONS)}")
    if not rest or rest[0].startswith("--"):
        raise UserError(
            f"ftlit study {action} needs the study's file: ftlit study {action} experiments/studies/quickstart.yaml"
        )
    file, options = Path(rest[0]), rest[1:]
    own = {name: _pop_flag(options, name) for name in ("--watch", "--plan")}
    steps = _pop_number(options, "--steps")
    _check_flags(action, own, steps)
    overrides = parse_overrides([_long(option) for option in options])
    plan = Plan(read_study(file, overrides))
    if action == "run" and own["--plan"]:
        from ftlit.study.preview import preview

        print(preview(plan, 3 if steps is None else steps, file))
    elif action == "status" and own["--watch"]:
        watch_status(plan)
    else:
        ACTIONS[action](plan, file)


def _check_flags(action: str, own: dict[str, bool], steps: int | None) -> None:
    """Raise if the action would ignore a flag."""
    if own["--plan"] and action != "run":
        raise UserError(f"--plan goes with ftlit study run, not with {action}")
    if own["--watch"] and action != "status":
        raise UserError(f"--watch goes with ftlit study status, not with {action}")
    if steps is not None and not own["--plan"]:
        raise UserError("--steps goes with ftlit study run FILE --plan")


def _long(option: str) -> str:
    name, equals, value = option.partition("=")
    return SHORT_OPTIONS.get(name, name) + equals + value


def _pop_flag(options: list[str], name: str) -> bool:
    """Remove a flag from the options; returns whether it was given."""
    found = name in options
    options[:] = [option for option in options if option != name]
    return found


def _pop_number(options: list[str], name: str) -> int | None:
    """Remove an option from the options; returns its number, or None if it was not given."""
    for i, option in enumerate(options):
        if option.partition("=")[0] == name:
            value = option.partition("=")[2] or (options[i + 1] if i + 1 < len(options) else "")
            if not value.isdecimal():
                raise UserError(f"{name} needs a number, got {value!r}")
            del options[i : i + (1 if "=" in option else 2)]
            return int(value)
    return None


def existing_folder(plan: Plan) -> Folder:
    """The folder of a study that has been started.

    Raises:
        UserError: The study has not been started.
    """
    if not (plan.study.folder / "study.json").is_file():
        raise UserError(f"{plan.study.folder} holds no study yet; start it with: ftlit study run FILE")
    folder = Folder(plan.study.folder, plan.study.compare.split)
    use_recorded(read_json(folder.path / "study.json").get("data", {}))
    if changes := folder.changes(plan.study):
        some = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
        print(f"note: the study was last run with other values of {some}; ftlit study ACTION {folder.path} uses those")
    return folder


def check_installed(what: str = "the report of a study") -> None:
    """Check that SciPy is installed, without importing it.

    Raises:
        UserError: It is not.
    """
    if find_spec("scipy") is None:
        raise UserError(f"{what} needs SciPy; install it with: pip install -e '.[study]'")


def run_study(plan: Plan, file: Path) -> None:
    """Run all cells that have not finished, and write the report."""
    from ftlit.study.running.check import check_study
    from ftlit.study.running.launchers import launch
    from ftlit.study.running.worker import finish_ended

    check_installed()
    study = plan.study
    print(f"{study.name}: {len(plan.arms)} arms, {plan.size_text}, in {study.folder}", flush=True)
    precision = check_study(plan)
    folder = Folder(study.folder, study.compare.split)
    folder.open(study, file)
    folder.settle_precision(precision)
    progress = launch(plan, folder, file)
    finish_ended(folder, progress.cells, study.keep)
    _remove_trial_checkpoints(progress)
    report_study(plan, file)
    if failed := progress.in_state("failed"):
        print(f"{len(failed)} cells failed; ftlit study status {file} says why, ftlit study retry {file} runs them again")
        raise SystemExit(1)


def _remove_trial_checkpoints(progress: Progress) -> None:
    """Remove the checkpoints of trials that were not chosen."""
    if progress.plan.study.keep == "all":
        return
    for cell in progress.cells:
        if not cell.final and progress.states[cell.name] == "done":
            progress.folder.drop_checkpoints(cell.name)


def print_status(plan: Plan, file: Path) -> None:
    """Print the progress of a study."""
    from ftlit.study.status import status_text

    folder = existing_folder(plan) if plan.study.folder.is_dir() else Folder(plan.study.folder, plan.study.compare.split)
    print(status_text(Progress(plan, folder)))


def watch_status(plan: Plan) -> None:
    """Print the progress every two seconds until no cell is running or pending."""
    from ftlit.study.status import status_text

    while True:
        progress = Progress(plan, Folder(plan.study.folder, plan.study.compare.split))
        text = status_text(progress)
        sys.stdout.write(("\x1b[2J\x1b[H" if sys.stdout.isatty() else "") + text + "\n")
        sys.stdout.flush()
        if not progress.unfinished:
            return
        time.sleep(2)


def report_study(plan: Plan, file: Path) -> None:
    """Write the report from the finished cells."""
    from ftlit.study.report import write_study_report

    check_installed()
    folder = existing_folder(plan)
    done = Progress(plan, folder).counts["done"]
    if not done and (finished := folder.finished()):
        raise UserError(
            f"{folder.path} has {finished} finished runs, but {file} with these options asks for none of them, so its report "
            f"would be empty; ftlit study report {folder.path} reports the study as it was last run"
        )
    for path in write_study_report(plan, folder):
        print(f"wrote {path}")


def retry_failed(plan: Plan, file: Path) -> None:
    """Run failed cells again."""
    folder = existing_folder(plan)
    print(f"{len(folder.clear_failures())} failed cells will run again")
    run_study(plan, file)


def diff_study(plan: Plan, file: Path) -> None:
    """Print the cells that are pending, and those in the folder that the study file does not ask for."""
    folder = existing_folder(plan)
    progress = Progress(plan, folder)
    known = {cell.name for cell in progress.cells}
    print(f"{progress.counts['done']} cells are done, {progress.counts['pending']} are pending:")
    print("\n".join(f"  + {cell.title}" for cell in progress.in_state("pending")) or "  none that are known yet")
    extra = sorted(path.name for path in (folder.path / "cells").iterdir() if path.name not in known)
    print(f"{len(extra)} cells in the folder are not part of the study:")
    print("\n".join(f"  - {_title(folder, name)}" for name in extra) or "  none")


def _title(folder: Folder, name: str) -> str:
    config = folder.config(name)
    first = config.read_text("utf-8").split("\n", 1)[0] if config.is_file() else ""
    return f"{first.removeprefix('# ')} ({name})" if first else name


ACTIONS = {"run": run_study, "status": print_status, "report": report_study, "retry": retry_failed, "diff": diff_study}

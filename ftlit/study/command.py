"""``python -m ftlit study``: run a study, look at it, report it."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

from ftlit.errors import UserError, near
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import parse_overrides, read_study
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress

HELP = """usage: ftlit study ACTION FILE [--key value ...]

actions:
  run      run every cell that has not finished, and write the report
  status   how it stands; --watch shows it again and again
  report   write report.html, report.md, results.csv and table.tex of what there is
  retry    run those that failed again
  diff     what the file asks for that its folder lacks, and what the folder has beside that

options:
  --plan             with run: measure a few steps of each kind of cell, and say what the whole will take
  --steps N          with --plan: how many steps, 3 by default; 0 measures nothing and answers at once
  --jobs N           cells at a time (launch.jobs)
  --launcher NAME    local, slurm or ray (launch.launcher)
  --KEY VALUE        any key of the file: --seeds "[0, 1]" --set.trainer.max_epochs 1 --folder runs/studies/other
"""
SHORT = {"--jobs": "--launch.jobs", "--launcher": "--launch.launcher", "--threads": "--launch.threads"}


def main(args: list[str]) -> None:
    """Do an action on a study.

    Args:
        args: The action, the file, and options.

    Raises:
        UserError: The study, or the command, is not as it should be.
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
    own = {name: _taken(options, name) for name in ("--watch", "--plan")}
    steps = _number(options, "--steps")
    _check_flags(action, own, steps)
    overrides = parse_overrides([_long(option) for option in options])
    plan = Plan(read_study(file, overrides))
    if action == "run" and own["--plan"]:
        from ftlit.study.preview import preview

        print(preview(plan, 3 if steps is None else steps, file))
    elif action == "status" and own["--watch"]:
        watch(plan)
    else:
        ACTIONS[action](plan, file)


def _check_flags(action: str, own: dict[str, bool], steps: int | None) -> None:
    """Refuse a flag that the action would pass over."""
    if own["--plan"] and action != "run":
        raise UserError(f"--plan goes with ftlit study run, not with {action}")
    if own["--watch"] and action != "status":
        raise UserError(f"--watch goes with ftlit study status, not with {action}")
    if steps is not None and not own["--plan"]:
        raise UserError("--steps goes with ftlit study run FILE --plan")


def _long(option: str) -> str:
    name, equals, value = option.partition("=")
    return SHORT.get(name, name) + equals + value


def _taken(options: list[str], name: str) -> bool:
    """Whether a flag is there; it is taken out."""
    found = name in options
    options[:] = [option for option in options if option != name]
    return found


def _number(options: list[str], name: str) -> int | None:
    """The number of an option, which is taken out."""
    for i, option in enumerate(options):
        if option.partition("=")[0] == name:
            value = option.partition("=")[2] or (options[i + 1] if i + 1 < len(options) else "")
            if not value.isdecimal():
                raise UserError(f"{name} needs a number, got {value!r}")
            del options[i : i + (1 if "=" in option else 2)]
            return int(value)
    return None


def existing_folder(plan: Plan) -> Folder:
    """The folder of a study that exists.

    Raises:
        UserError: Nothing has been run yet.
    """
    if not (plan.study.folder / "study.json").is_file():
        raise UserError(f"{plan.study.folder} holds no study yet; begin with: ftlit study run FILE")
    return Folder(plan.study.folder, plan.study.compare.split)


def _check_installed() -> None:
    if find_spec("scipy") is None:
        raise UserError("the report of a study needs SciPy; install it by: pip install -e '.[study]'")


def run(plan: Plan, file: Path) -> None:
    """Run what has not finished, and report."""
    from ftlit.study.running.check import check_study
    from ftlit.study.running.launchers import launch

    _check_installed()
    study = plan.study
    print(f"{study.name}: {len(plan.arms)} arms, at most {plan.size} cells, in {study.folder}", flush=True)
    check_study(plan)
    folder = Folder(study.folder, study.compare.split)
    folder.open(study.name, file)
    progress = launch(plan, folder, file)
    _clean(progress)
    report(plan, file)
    if failed := progress.in_state("failed"):
        print(f"{len(failed)} cells failed; ftlit study status {file} says why, ftlit study retry {file} runs them again")
        raise SystemExit(1)


def _clean(progress: Progress) -> None:
    """Remove the checkpoints of trials that were not chosen."""
    if progress.plan.study.keep == "all":
        return
    for cell in progress.cells:
        if not cell.final and progress.states[cell.name] == "done":
            progress.folder.drop_checkpoints(cell.name)


def status(plan: Plan, file: Path) -> None:
    """Print how a study stands."""
    from ftlit.study.status import status_text

    folder = Folder(plan.study.folder, plan.study.compare.split)
    print(status_text(Progress(plan, folder)))


def watch(plan: Plan) -> None:
    """Print it again every other second, until nothing runs and nothing is left."""
    from ftlit.study.status import status_text

    while True:
        progress = Progress(plan, Folder(plan.study.folder, plan.study.compare.split))
        text = status_text(progress)
        sys.stdout.write(("\x1b[2J\x1b[H" if sys.stdout.isatty() else "") + text + "\n")
        sys.stdout.flush()
        if not progress.unfinished:
            return
        time.sleep(2)


def report(plan: Plan, file: Path) -> None:
    """Write the report of what there is."""
    from ftlit.study.report import write_study_report

    _check_installed()
    folder = existing_folder(plan)
    for path in write_study_report(plan, folder):
        print(f"wrote {path}")


def retry(plan: Plan, file: Path) -> None:
    """Run failed cells again."""
    folder = existing_folder(plan)
    print(f"{len(folder.clear_failures())} cells had failed and run again")
    run(plan, file)


def diff(plan: Plan, file: Path) -> None:
    """Say what the file asks for that its folder lacks, and what lies there beside that."""
    folder = existing_folder(plan)
    progress = Progress(plan, folder)
    known = {cell.name for cell in progress.cells}
    print(f"{progress.counts['done']} cells are done and stay, {progress.counts['pending']} are left to run:")
    print("\n".join(f"  + {cell.title}" for cell in progress.in_state("pending")) or "  none known yet")
    extra = sorted(path.name for path in (folder.path / "cells").iterdir() if path.name not in known)
    print(f"{len(extra)} lie in the folder and are not asked for:")
    print("\n".join(f"  - {_title(folder, name)}" for name in extra) or "  none")


def _title(folder: Folder, name: str) -> str:
    config = folder.config(name)
    first = config.read_text("utf-8").split("\n", 1)[0] if config.is_file() else ""
    return f"{first.removeprefix('# ')} ({name})" if first else name


ACTIONS = {"run": run, "status": status, "report": report, "retry": retry, "diff": diff}

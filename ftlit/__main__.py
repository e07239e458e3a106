"""``python -m ftlit``: print help or run a command; torch is imported only by commands that need it."""

import os
import sys
from importlib import import_module

HELP = """usage: ftlit COMMAND [options]

Fine-tune pretrained language models: any task, any backbone, any tuning method, one YAML file.

commands:
  fit        train, and evaluate the best checkpoint    ftlit fit --config configs/quickstart.yaml
  validate   evaluate a run on validation               ftlit validate --config runs/x/config.yaml
  test       evaluate a run on test                     ftlit test --config runs/x/config.yaml
  predict    label new texts with a run                 ftlit predict --run runs/x --input texts.txt --output out.jsonl
  export     write a run as a folder without ftlit      ftlit export --run runs/x --output folder
  compress   make a run smaller and faster for CPUs     ftlit compress --run runs/x --method onnx-int8
  calibrate  make the scores of a run probabilities     ftlit calibrate --run runs/x
  update     train on with new data, and compare        ftlit update --run runs/x --data new.csv --output runs/y
  history    the earlier runs that a run comes from     ftlit history runs/y
  soup       average the weights of runs                ftlit soup --run runs/x --run runs/y --output runs/z
  push       publish a run on the Hugging Face hub      ftlit push --run runs/x --repo me/name
  serve      answer requests over HTTP with a run       ftlit serve --run runs/x
  explain    which words a prediction comes from        ftlit explain --run runs/x --split test
  errors     show where a run fails                     ftlit errors --run runs/x
  audit      groups, swapped words, small changes       ftlit audit --run runs/x --config audit.yaml
  drift      what changed between a run and new rows    ftlit drift --run runs/x --input new.csv
  diff       what differs between two runs              ftlit diff runs/a runs/b
  compare    compare methods by their runs              ftlit compare runs/a0 runs/a1 runs/b0 runs/b1
  study      run and report an ablation study           ftlit study run experiments/studies/quickstart.yaml

Each command explains itself: ftlit COMMAND --help
"""
COMMANDS = tuple(line.split()[0] for line in HELP.splitlines() if line.startswith("  "))
TRACEBACK = "FTLIT_TRACEBACK"  # environment variable
LIGHT = {  # modules that do without torch
    "diff": "ftlit.diff.command",
    "compare": "ftlit.diff.arms.command",
    "history": "ftlit.diff.history",
    "study": "ftlit.study.command",
}


def main(args: list[str] | None = None) -> None:
    """Run a command. A mistake of the user is reported in one line, with exit code 2."""
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(HELP, end="")
        raise SystemExit(0 if args else 2)
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"ftlit {version('ftlit')}")
        return
    from ftlit.commands.given import CONFIGURED, PREFIX, check_environment
    from ftlit.errors import UserError, near, user_error

    try:
        if args[0] not in COMMANDS:
            raise UserError(f"no command {args[0]!r}. {near(args[0], COMMANDS)}")
        if args[0] not in CONFIGURED and any(name.startswith(PREFIX) for name in os.environ):
            check_environment(args[0])
        if args[0] in LIGHT:
            import_module(LIGHT[args[0]]).main(args[1:])
            return
        from ftlit.util.startup import fast_imports

        with fast_imports():
            from ftlit.commands.cli import run

        run(args)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if (mistake := user_error(error)) is None:
            raise
        if os.environ.get(TRACEBACK):
            raise
        print(f"error: {mistake}", file=sys.stderr)
        if mistake.__cause__ is not None and not isinstance(mistake.__cause__, UserError | OSError):
            print(f"{TRACEBACK}=1 shows where it was raised", file=sys.stderr)
        raise SystemExit(2) from None


def leave_present_folder() -> None:
    """Look for no modules in the present folder, where ``python -m`` looks first: it may be a stranger's.

    It is searched last if ftlit itself is there, and if the user's config or ``--trust_classes`` may name classes in it.
    """
    if getattr(sys.flags, "safe_path", False):
        return
    present = sys.path.pop(0)
    if import_module("ftlit").__path__[0] == f"{present}/ftlit":
        sys.path.append(present)


if __name__ == "__main__":
    leave_present_folder()
    main()

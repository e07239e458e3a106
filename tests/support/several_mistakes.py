"""Run several commands in one process, and print the exit code and the errors of each: ``python -m`` this module."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

from ftlit.__main__ import main


def outcome(args: list[str]) -> list[object]:
    """The exit code of a command and what it says in its errors, or the name of an exception that passes."""
    errors = io.StringIO()
    try:
        with redirect_stderr(errors), redirect_stdout(io.StringIO()):
            main(args)
    except SystemExit as left:
        return [left.code, errors.getvalue()]
    except Exception as error:
        return [type(error).__name__, str(error)]
    return [0, errors.getvalue()]


if __name__ == "__main__":
    commands = json.loads(sys.argv.pop())
    print("\n" + json.dumps([outcome(args) for args in commands]))

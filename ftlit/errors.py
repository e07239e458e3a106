"""The exception for mistakes that a user can fix."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a config, a file or a command that the user can fix.

    The command line prints the message as one line and exits with code 2. The message says what was expected, what was
    found, and which key to change.
    """


class DamagedFileError(UserError):
    """A file of a run or a model that is not what its writer left."""


class Stopped(SystemExit):
    """The process was asked to stop, by a signal or from the keyboard, and has stopped at a safe place.

    Args:
        code: The exit code: 128 plus the number of the signal, or 0 in the helping processes of a run.
        said: Where it stopped.
    """

    def __init__(self, code: int, said: str) -> None:
        super().__init__(code)
        self.said = said

    def __str__(self) -> str:
        return self.said


def near(name: str, known: Iterable[str]) -> str:
    """A sentence that ends the error for an unknown name: ``Did you mean 'text'?``, or else a list of the known names."""
    names = {str(k).lower(): str(k) for k in known}
    if matches := difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6):
        return f"Did you mean {names[matches[0]]!r}?"
    return f"There are: {', '.join(names.values())}." if names else "There are none."


def user_error(error: BaseException | None) -> UserError | None:
    """The `UserError` that caused another error, or None. Libraries wrap errors that are raised inside them."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error

"""The exception for mistakes that a user can fix."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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
    found = error
    while found is not None and not isinstance(found, UserError):
        found = found.__cause__ or found.__context__
    if found is None and is_misconfiguration(error):
        return UserError(in_a_sentence(error))
    return found


def is_misconfiguration(error: BaseException | None) -> bool:
    """Whether Lightning says that settings do not fit; its class is not imported, which takes seconds."""
    monitored = str(error).startswith("Early stopping conditioned on metric")
    return type(error).__name__ == "MisconfigurationException" or monitored


@contextmanager
def settings(of: str) -> Iterator[None]:
    """Turn what a library raises because of a setting into a `UserError`, for code that only prepares a run.

    Args:
        of: The settings that are used inside, with which the message begins.

    Raises:
        UserError: Anything was raised inside.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if user_error(error) is not None and not is_misconfiguration(error):
            raise
        raise UserError(f"{of}: {in_a_sentence(error)}") from error


SENTENCES = (ValueError, RuntimeError, OSError, ImportError)  # which libraries raise with a text for users
LONGEST = 400  # characters


def in_a_sentence(error: BaseException | None) -> str:
    """The text of a library's error in one line, with the kind of the error if the text alone is no sentence."""
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' ', 1)[0]} …"
    named = isinstance(error, SENTENCES) and not isinstance(error, KeyError | UnicodeError) and " " in text
    return text if named or is_misconfiguration(error) else f"{type(error).__name__}: {text}"

"""The one exception that a user is meant to read."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a config, a file or a command that the user can mend.

    The command line prints its text as one line and leaves with exit code 2, so the text says what was expected, what
    was got, and where to change it.
    """


def near(name: str, known: Iterable[str]) -> str:
    """A closing sentence for an unknown name: ``Did you mean 'text'?``, or else the names that there are."""
    names = {str(k).lower(): str(k) for k in known}
    if matches := difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6):
        return f"Did you mean {names[matches[0]]!r}?"
    return f"There are: {', '.join(names.values())}." if names else "There are none."


def user_error(error: BaseException | None) -> UserError | None:
    """The mistake of the user that caused an error, or None: libraries wrap what is raised inside them."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error

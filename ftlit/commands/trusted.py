"""Evaluating a run, whose config was perhaps written by a stranger: what it may not do, unless the command allows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftlit.runs.exported import METADATA_FILE
from ftlit.runs.files import BEST, CONFIG, RECORD
from ftlit.util.settings import parse_yaml
from ftlit.util.trust import check_source, import_trusted, opening


@contextmanager
def evaluating(args: list[str]) -> Iterator[None]:
    """Allow the config of a run to name no classes outside ftlit, and to run no code that comes with a model.

    A config that is not in the folder of a run is the user's own, and so is every config of `fit`.

    Args:
        args: The command and its options.
    """
    if not is_of_run(args):
        yield
        return
    import_trusted(parse_yaml(value) if (value := given(args, "--trust_classes")) else None)
    with opening(parse_yaml(given(args, "--model.trust_remote_code") or "false") is True):
        yield


def is_of_run(args: list[str]) -> bool:
    """Whether a command evaluates a run by the config in its folder."""
    return args[0] != "fit" and any(map(_in_run_folder, _values(args, "--config")))


def given(args: list[str], option: str) -> str | None:
    """The value of an option on the command line; None if it is not there."""
    found = _values(args, option)
    return found[-1] if found else None


def check_trusted(args: list[str], options: Any) -> None:
    """Import the classes that the user trusts, and check that a run's rows come from no function that the user does not.

    Raises:
        UserError: They do, or a class does not exist.
    """
    import_trusted(options.trust_classes)
    if is_of_run(args):
        check_source(options.data.init_args.dataset, options.trust_classes)


def _in_run_folder(config: str) -> bool:
    path = Path(config).expanduser()
    beside = (RECORD, METADATA_FILE, *([BEST] if path.name == CONFIG else []))
    return any((path.parent / name).exists() for name in beside)


def _values(args: list[str], option: str) -> list[str]:
    following = zip(args, [*args[1:], ""], strict=True)
    pairs = [(*arg.partition("="), after) for arg, after in following]
    return [value if equals else after for name, equals, value, after in pairs if name == option]

"""What predictions are made from, to tell whether a command may go on with those of another."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ftlit.util.files import file_digest

PACKAGES = ("ftlit", "torch", "transformers", "tokenizers")


def source_of(input: str, weights: Path, **options: Any) -> dict[str, Any]:
    """Digests of the input and the weights, options, and versions, by their names in messages.

    Args:
        input: The file with the rows, or ``-`` for standard input.
        weights: A checkpoint, or an exported folder.
        **options: Options of the command.
    """
    files = sorted(path for path in weights.rglob("*") if path.is_file()) if weights.is_dir() else [weights]
    return {
        "the input": "" if input == "-" else file_digest([Path(input)]),
        "the run": file_digest(files),
        **{f"--{name}": value for name, value in options.items()},
        **_versions(PACKAGES),
    }


def _versions(packages: Iterable[str]) -> dict[str, str]:
    return {f"the version of {name}": version(name) for name in packages}

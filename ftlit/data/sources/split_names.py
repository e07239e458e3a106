"""Which of the files or splits of a source are train, validation and test, by their names."""

import re
from collections.abc import Collection, Iterable

from ftlit.errors import UserError

NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development", "eval", "evaluation"),
    "test": ("test", "testing"),
}
SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}


def splits_by_name(names: Iterable[str], taken: Collection[str] = ()) -> dict[str, list[str]]:
    """The names that mean each split: its usual names, or else names in which one of them is a word.

    ``dev-v2.0`` and ``en_ewt-ud-dev`` mean validation; ``train_dev`` could mean two splits, and means none.

    Args:
        names: The source's own names of its splits or files.
        taken: Names that the config gives to a split, which mean nothing else.
    """
    exact: dict[str, list[str]] = {split: [] for split in NAMES}
    similar: dict[str, list[str]] = {split: [] for split in NAMES}
    for name in names:
        if split := SPLIT_OF.get(name.lower()):
            exact[split].append(name)
        elif name not in taken and (split := _split_in(name)):
            similar[split].append(name)
    return {
        split: sorted(exact[split], key=lambda name: usual.index(name.lower())) or similar[split]
        for split, usual in NAMES.items()
    }


def _split_in(name: str) -> str | None:
    found = {SPLIT_OF[word] for word in re.split("[^a-z]+", name.lower()) if word in SPLIT_OF}
    return found.pop() if len(found) == 1 else None


def check_none_left(dataset: str, left: list[str], settled: Collection[str]) -> None:
    """Raise if a name may be train or validation and is neither, so that rows would be left out without a word.

    Args:
        dataset: The source, for the message.
        left: Names of what surely holds rows, and of no split.
        settled: Splits that were found, or that the config names or leaves out.

    Raises:
        UserError: If train or validation is not settled and there are such names.
    """
    missing = [split for split in ("train", "validation") if split not in settled]
    if left and missing:
        shown, several = " and ".join(map(repr, left)), len(left) > 1
        raise UserError(
            f"data.dataset {dataset!r} has {shown}, which {'name' if several else 'names'} no split; use "
            f"{'them' if several else 'it'} in data.splits, such as {{{missing[-1]}: {left[0]}}}, or leave the split out with "
            f"{{{missing[-1]}: null}}"
        )

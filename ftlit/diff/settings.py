"""Find the settings, data, code and machines in which two runs differ, likeliest causes first."""

from dataclasses import dataclass
from typing import Any

from ftlit.exports.run import Run
from ftlit.runs.secrets import hidden
from ftlit.util.options import OPTIONS, without_init_args
from ftlit.util.settings import flat

RECORDED = ("git.commit", "git.dirty", "versions.ftlit", "versions", "hardware")  # of run.json
# From the likeliest cause of another result to the least likely one. The longest matching prefix decides a key's place.
ORDER = (
    *(without_init_args(key) for key, option in OPTIONS.items() if option.affects),
    *RECORDED,
    *(without_init_args(key) for key, option in OPTIONS.items() if not option.affects),
)
ROWS = ("fingerprint", "rows")  # of run.json; they have the place of the data set
COMMAND_OPTIONS = ("run_dir", "resume", "overwrite")  # belong to the command, not to the run


@dataclass(frozen=True)
class Difference:
    """A value that is not the same in two runs.

    Attributes:
        kind: `config`, `data`, `code`, `versions` or `hardware`.
        key: Key of the config, with dots, or of run.json.
        a: Value of the first run; None if it has none.
        b: Value of the second run.
    """

    kind: str
    key: str
    a: Any
    b: Any


def differences(a: Run, b: Run) -> list[Difference]:
    """The values that are not the same in both runs, in the order of `ORDER`."""
    one, two = _facts(a), _facts(b)
    keys = dict.fromkeys([*one, *two])
    found = [Difference(*key, one.get(key), two.get(key)) for key in keys if one.get(key) != two.get(key)]
    return sorted(found, key=lambda difference: place(difference.key))


def place(key: str) -> int:
    """Place of a key among the likely causes."""
    parts = ["data", "dataset"] if key.split(".")[0] in ROWS else key.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((ORDER.index(prefix) for prefix in prefixes if prefix in ORDER), ORDER.index("trainer"))


def _facts(run: Run) -> dict[tuple[str, str], Any]:
    """Everything in which two runs can differ, by kind and key."""
    splits = run.record.get("data", {}).get("splits", {})
    facts = {("config", key): value for key, value in flat(hidden(run.config)) if key.split(".")[0] not in COMMAND_OPTIONS}
    facts |= {
        ("data", f"{name}.{split}"): found.get(name) for name in ("fingerprint", "rows") for split, found in splits.items()
    }
    for kind, section in (("code", "git"), ("versions", "versions"), ("hardware", "hardware")):
        facts |= {(kind, f"{section}.{key}"): value for key, value in (run.record.get(section) or {}).items()}
    return facts

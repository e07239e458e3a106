"""The tables of faults and of their tests."""

import csv
from pathlib import Path

FOLDER = Path(__file__).parent
KNOWN = FOLDER / "known.csv"


def known_faults() -> dict[str, str]:
    """What holds instead of each fault, by its id. A fault without an id of its own has its description as its id."""
    with KNOWN.open(encoding="utf-8", newline="") as file:
        listed = {row["id"]: row["fault"] for row in csv.DictReader(file)}
    return listed | {fault: fault.partition(":")[2].strip() for fault in tests_of_faults() if ":" in fault}


def tests_of_faults() -> dict[str, list[str]]:
    """Node ids of the tests of each fault, by its id."""
    found: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("*.csv")):
        if path != KNOWN:
            with path.open(encoding="utf-8", newline="") as file:
                for fault, test in csv.reader(file):
                    found.setdefault(fault, []).append(test)
    return found

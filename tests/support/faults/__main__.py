"""Run the tests of all known faults, and write `experiments/results/faults.md`.

python -m tests.support.faults
python -m tests.support.faults default.xml slow.xml    # from reports of tests that have run, by pytest --junitxml
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from tabulate import tabulate

from tests.support.faults.tables import known_faults, tests_of_faults

RESULTS = Path("experiments/results/faults.md")
HEAD = """# Faults that users met, and the tests that hold them off

    python -m tests.support.faults

"""


def run_tests(tests: list[str], report: Path) -> None:
    """Run tests, slow ones too, and write a report in JUnit's format."""
    options = ["-q", "-p", "no:cacheprovider", "-m", "slow or matrix or not slow", f"--junitxml={report}"]
    subprocess.run([sys.executable, "-m", "pytest", *options, *tests], check=False)


def states(reports: list[Path]) -> dict[str, str]:
    """Return `passed`, `failed` or `skipped` by test function: `failed` if any case failed, `passed` if any passed.

    A case in a later report replaces the same case in an earlier one.
    """
    cases = {(case.attrib["classname"], case.attrib["name"]): _case_state(case) for case in _cases(reports)}
    found: dict[str, set[str]] = {}
    for (module, name), state in cases.items():
        found.setdefault(f"{module.replace('.', '/')}.py::{name.partition('[')[0]}", set()).add(state)
    return {name: next(state for state in ("failed", "passed", "skipped") if state in some) for name, some in found.items()}


def _cases(reports: list[Path]) -> Iterator[ElementTree.Element]:
    return (case for report in reports for case in ElementTree.parse(report).iter("testcase"))


def _case_state(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"


def main() -> None:
    """Write the table, and exit with code 1 if a fault is open."""
    known, tests = known_faults(), tests_of_faults()
    with tempfile.TemporaryDirectory() as folder:
        reports = [Path(name) for name in sys.argv[1:]] or [Path(folder) / "report.xml"]
        if not sys.argv[1:]:
            run_tests(sorted({test for of_one in tests.values() for test in of_one}), reports[0])
        found = states(reports)
    rows = [_row(fault, what, tests.get(fault, []), found) for fault, what in known.items()]
    RESULTS.write_text(HEAD + tabulate(rows, ["id", "fault", "tests", "state"], tablefmt="pipe") + "\n", encoding="utf-8")
    still_open = [f"{row[0]} ({row[1]})" for row in rows if row[3] != "fixed"]
    print(f"{len(rows)} faults, open: {', '.join(still_open) or 'none'}")
    raise SystemExit(1 if still_open else 0)


def _row(fault: str, what: str, tests: list[str], found: dict[str, str]) -> list[str]:
    return [fault.partition(":")[0], what, "<br>".join(f"`{test}`" for test in tests), _state(tests, found)]


def _state(tests: list[str], found: dict[str, str]) -> str:
    """`fixed` if none of the tests fails and one passes, else `open`."""
    of_this = [found.get(test.partition("[")[0], "failed") for test in tests]
    return "fixed" if "passed" in of_this and "failed" not in of_this else "open"


if __name__ == "__main__":
    main()

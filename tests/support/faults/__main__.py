"""Run the tests of all known faults and write `experiments/results/faults.md`: python -m tests.support.faults"""

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tabulate import tabulate

from tests.support.faults.tables import known_faults, tests_of_faults

RESULTS = Path("experiments/results/faults.md")
HEAD = """# Faults that users met, and the tests that hold them off

    python -m tests.support.faults

"""


def states(tests: list[str]) -> dict[str, str]:
    """Run tests, and return `passed`, `failed` or `skipped` by test function: the worst of its cases."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-p", "no:cacheprovider", "-m", "slow or matrix or not slow", f"--junitxml={report}"]
        subprocess.run([sys.executable, "-m", "pytest", *options, *tests], check=False)
        found: dict[str, str] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            path = case.attrib["classname"].replace(".", "/") + ".py"
            name = f"{path}::{case.attrib['name'].partition('[')[0]}"
            kinds = {child.tag for child in case}
            state = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            found[name] = max(found.get(name, "passed"), state, key=["passed", "skipped", "failed"].index)
    return found


def main() -> None:
    """Write the table, and exit with code 1 if a fault is open."""
    known, tests = known_faults(), tests_of_faults()
    found = states(sorted({test for of_one in tests.values() for test in of_one}))
    rows = [_row(fault, what, tests.get(fault, []), found) for fault, what in known.items()]
    RESULTS.write_text(HEAD + tabulate(rows, ["id", "fault", "tests", "state"], tablefmt="pipe") + "\n", encoding="utf-8")
    still_open = [f"{row[0]} ({row[1]})" for row in rows if row[3] != "mended"]
    print(f"{len(rows)} faults, open: {', '.join(still_open) or 'none'}")
    raise SystemExit(1 if still_open else 0)


def _row(fault: str, what: str, tests: list[str], found: dict[str, str]) -> list[str]:
    return [fault.partition(":")[0], what, "<br>".join(f"`{test}`" for test in tests), _state(tests, found)]


def _state(tests: list[str], found: dict[str, str]) -> str:
    """`mended` if none of the tests fails and one passes, else `open`."""
    of_this = [found.get(test.partition("[")[0], "failed") for test in tests]
    return "mended" if "passed" in of_this and "failed" not in of_this else "open"


if __name__ == "__main__":
    main()

"""Each known fault has tests, and they exist."""

import ast
from pathlib import Path

import pytest

from tests.support.faults.tables import known_faults, tests_of_faults

TESTS = tests_of_faults()


@pytest.mark.parametrize("fault", known_faults())
def test_each_fault_has_a_test_that_exists(fault: str) -> None:
    assert TESTS.get(fault), f"no test of the fault {fault} is named in tests/support/faults"
    for test in TESTS[fault]:
        path, _, name = test.partition("::")
        functions = [
            node.name for node in ast.walk(ast.parse(Path(path).read_text("utf-8"))) if isinstance(node, ast.FunctionDef)
        ]
        assert name.partition("[")[0] in functions, f"{test} does not exist"


def test_each_table_names_known_faults() -> None:
    assert sorted(TESTS.keys() - known_faults().keys()) == []

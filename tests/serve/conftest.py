"""Fixtures of the tests of servers."""

import logging
from collections.abc import Callable

import pytest

from tests.support.served_tasks import Case, untrained_cases


@pytest.fixture(scope="package")
def cases(
    tiny: Callable[[str], str], tiny_seq2seq: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Callable[[str], Case]:  # fmt: skip
    """The predictor of a task, and new rows for it; the data sets of some are fixtures."""
    return untrained_cases(tiny, tiny_seq2seq, tmp_path_factory.mktemp("tasks"), request.getfixturevalue)


@pytest.fixture(autouse=True)
def log_of_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what the command and import-linter do to loggers, in this and in earlier tests of the same process."""
    monkeypatch.setattr(logging.getLogger("ftlit.serve"), "propagate", True)
    for name in ("ftlit.serve", "ftlit.serve.requests"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)

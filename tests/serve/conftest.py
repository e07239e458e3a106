"""Fixtures of the tests of servers."""

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

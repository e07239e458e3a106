"""The start of a command leaves the garbage collector as it was."""

import gc
from contextlib import suppress

from ftlit.util.startup import fast_imports


def test_garbage_is_not_collected_during_imports_and_is_afterwards() -> None:
    with fast_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_garbage_is_collected_after_a_failure_too() -> None:
    with suppress(ImportError), fast_imports():
        raise ImportError
    assert gc.isenabled()

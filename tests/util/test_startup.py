"""A quicker start leaves everything as it was: what was left out can be imported, and garbage is collected."""

import gc
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest

from ftlit.util.startup import fast_imports
from tests.support.command_line import ROOT

CHECK = """
import gc, sys
from ftlit.util.startup import fast_imports

with fast_imports():
    assert not gc.isenabled()
    import torchmetrics
    assert "scipy.signal" not in sys.modules or sys.modules["scipy.signal"].__spec__ is None
assert gc.isenabled()
assert "scipy.signal" not in sys.modules
import scipy.signal
from scipy.signal import butter, convolve
assert convolve([1, 2], [1, 1]).tolist() == [1, 3, 2]
assert len(butter(2, 0.5)) == 2
assert scipy.signal.__spec__ is not None
print("whole")
"""


@pytest.mark.slow
def test_scipy_signal_is_whole_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.stdout.strip() == "whole", done.stderr


@pytest.mark.slow
def test_the_command_line_ends_with_all_of_it() -> None:
    """Commands import behind the guard too."""
    check = """
import contextlib, io, sys
sys.argv = ["ftlit", "fit", "--help"]
from ftlit.__main__ import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["fit", "--help"])
import gc, scipy.signal
assert gc.isenabled()
print(scipy.signal.convolve([1, 2], [1, 1]).tolist())
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, timeout=240, check=False)
    assert done.stdout.strip().splitlines()[-1] == "[1, 3, 2]", done.stderr


def test_a_module_that_is_there_already_stays() -> None:
    import scipy.signal

    with fast_imports():
        assert sys.modules["scipy.signal"] is scipy.signal
    assert sys.modules["scipy.signal"] is scipy.signal


def test_a_module_that_is_imported_inside_in_earnest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    earnest: Any = object()
    monkeypatch.delitem(sys.modules, "scipy.signal", raising=False)
    with fast_imports():
        sys.modules["scipy.signal"] = earnest
    assert sys.modules["scipy.signal"] is earnest


def test_what_was_imported_is_left_out_of_later_collections() -> None:
    with fast_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_garbage_is_collected_after_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "scipy.signal", raising=False)
    with suppress(ImportError), fast_imports():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    assert "scipy.signal" not in sys.modules

"""Mixed precision is the default where the hardware multiplies bfloat16, and refused on processors that do not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlit.errors import UserError
from ftlit.training.bfloat16 import check_precision, default_precision, native_bfloat16
from tests.support.command_line import arguments, refusal


@pytest.fixture
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor multiplies bfloat16."""
    monkeypatch.setattr("ftlit.training.bfloat16.cpu_multiplies_bfloat16", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return request.param


@pytest.mark.parametrize(("native", "default"), [(True, "bf16-mixed"), (False, "32-true")], indirect=["native"])
def test_the_default_is_what_is_fast_here(native: bool, default: str) -> None:
    assert native_bfloat16(torch.device("cpu")) == native
    assert default_precision() == default


@pytest.mark.parametrize("native", [False], indirect=True)
def test_only_mixed_precision_on_such_a_processor_is_refused(native: bool) -> None:
    with pytest.raises(UserError, match=r"set trainer\.precision: 32-true"):
        check_precision("bf16-mixed", torch.device("cpu"))
    for precision, device in (("32-true", "cpu"), ("bf16-true", "cpu"), ("bf16-mixed", "cuda"), ("bf16-mixed", "meta")):
        check_precision(precision, torch.device(device))


@pytest.mark.parametrize("native", [True], indirect=True)
def test_it_is_accepted_elsewhere(native: bool) -> None:
    check_precision("bf16-mixed", torch.device("cpu"))


@pytest.mark.parametrize("native", [False], indirect=True)
def test_fit_refuses_before_anything_is_written(
    native: bool, tiny: Callable[[str], str], sentiment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    options = {"run_dir": tmp_path / "run", "trainer__precision": "bf16-mixed"}
    options |= {"model__backbone": tiny("bert"), "data__dataset": sentiment}
    said = refusal(arguments("fit", "TextClassification", "TextClassificationData", **options), capsys)
    assert "trainer.precision bf16-mixed needs a processor that multiplies bfloat16" in said
    assert not (tmp_path / "run").exists()

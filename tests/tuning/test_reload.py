"""Runs of every kind of method are opened from their folder alone, whatever is nested in their config."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftlit as package
from ftlit.__main__ import main
from tests.support.command_line import arguments
from tests.support.tuning.methods import sampled
from tests.tuning.test_resume import METHODS, Config, method

NESTED: dict[str, Config] = {
    "Peft": method("Peft", method="LOHA", arguments={"r": 2, "target_modules": ["query", "value"]}),
    "HeadFirst-Combined": method("HeadFirst", then=method("Combined", methods=[method("LoRA", r=2), method("BitFit")])),
    "BottleneckAdapter": method("BottleneckAdapter", locations=["attention"]),
    "PromptTuning-text": method("PromptTuning", tokens=3, init="text", text="good word1"),
    "IA3": method("IA3", targets=["value"], feedforward=r".*layer\.\d\.output\.dense"),
    "Select": method("Select", pattern=["query", r"layer\.1\."]),
}
EVERY = {**METHODS, **NESTED}
CHOSEN = ("HeadFirst-Combined",)  # run by default


@pytest.mark.parametrize("name", sampled([(name,) for name in EVERY], 99, lambda name: name in CHOSEN))
def test_a_run_is_opened_from_its_folder(
    name: str, tiny: Callable[[str], str], sentiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    given: dict[str, Any] = {"run_dir": tmp_path / "run", "test_after_fit": "true", "trainer__max_epochs": 3}
    rate = {"model__optimizer": "torch.optim.AdamW", "model__optimizer__init_args__lr": 0.01}
    model = {"model__backbone": tiny("bert"), "model__tuning": json.dumps(EVERY[name]), **rate}
    data = {"data__dataset": sentiment, "data__limit_train": 48}
    main(arguments("fit", "TextClassification", "TextClassificationData", **model, **data, **given))
    expected = [json.loads(line) for line in (tmp_path / "run/predictions/test.jsonl").read_text().splitlines()]
    texts = [json.loads(line)["text"] for line in Path(f"{sentiment}/test.jsonl").read_text().splitlines()]
    found = package.load(tmp_path / "run")(texts, batch_size=8, scores=True)
    assert [row["scores"] for row in found] == [row["scores"] for row in expected]

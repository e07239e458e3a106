"""Methods that act during training, stopped inside an epoch: the run that goes on ends with the bits of one that was not."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlit.__main__ import main
from ftlit.runs.files import LAST
from ftlit.tuning import AdaLoRA
from tests.support.command_line import arguments, ftlit, kill_when
from tests.support.resuming import differences, final_state, keep_snapshots
from tests.support.small import saved
from tests.support.tuning.life import fit, tuned
from tests.support.tuning.methods import sampled

STEPS, EPOCHS = 6, 3  # steps of an epoch, of 8 examples, and epochs
Config = dict[str, Any]


def method(name: str, **settings: Any) -> Config:
    return {"class_path": name, "init_args": settings}


METHODS: dict[str, Config] = {
    "AdaLoRA": method("AdaLoRA", r=2, init_r=4, deltaT=2, tinit=0.1, tfinal=0.3),
    "GradualUnfreezing-steps": method("GradualUnfreezing", steps=[3, 8, 13]),
    "GradualUnfreezing-epochs": method("GradualUnfreezing"),
    "HeadFirst-steps": method("HeadFirst", steps=8),
    "HeadFirst-epochs": method("HeadFirst", then=method("LoRA", r=2)),
    "PromptTuning": method("PromptTuning", tokens=4),
    "PTuning": method("PTuning", tokens=4, encoder="lstm"),
    "PrefixTuning": method("PrefixTuning", tokens=4, projection=True),
    "PiSSA": method("LoRA", r=2, init="pissa", dropout=0.1),
    "Combined": method("Combined", methods=[method("LoRA", r=2, dropout=0.1), method("PromptTuning", tokens=4)]),
    "Combined-AdaLoRA": method("Combined", methods=[method("BitFit"), method("AdaLoRA", r=2, init_r=4, deltaT=2)]),
    "VeRA": method("Peft", method="VERA", arguments={"r": 4, "vera_dropout": 0.1}),
}


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture
def fit_args(tiny: Callable[[str], str], sentiment: str) -> Callable[..., list[str]]:
    """Arguments of a small run with dropout that saves inside its epochs."""

    def make(run_dir: Path, tuning: Config, **options: Any) -> list[str]:
        given = {"run_dir": run_dir, "test_after_fit": "true", "trainer__max_epochs": EPOCHS, "patience": "null"}
        rate = {"model__optimizer": "torch.optim.AdamW", "model__optimizer__init_args__lr": 0.01}
        model = {"model__backbone": tiny("bert"), "model__tuning": json.dumps(tuning), **rate}
        data = {"data__dataset": sentiment, "data__limit_train": STEPS * 8, "save_every_n_steps": 4}
        return arguments("fit", "TextClassification", "TextClassificationData", **{**model, **data, **given, **options})

    return make


@pytest.mark.parametrize("name", sampled([(name,) for name in METHODS], 99, lambda name: False))
def test_going_on_inside_an_epoch(name: str, fit_args: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_dir, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patch:
        keep_snapshots(patch, run_dir, tmp_path / "at")
        main(fit_args(run_dir, METHODS[name]))
    run_dir.rename(whole)
    expected, found = final_state(whole), {}
    for step in (4, 8):  # inside the first and the second of three epochs
        shutil.copytree(tmp_path / "at" / f"batch-{step - 1:02d}", run_dir)
        assert torch.load(run_dir / LAST, weights_only=True)["global_step"] == step
        main(["fit", "--resume", "--run_dir", str(run_dir)])
        found[step] = differences(expected, final_state(run_dir))
        shutil.rmtree(run_dir)
    assert found == {4: [], 8: []}


def test_ranks_fell_before_and_after_the_interruption(fit_args: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above resumes an allocation that was under way."""
    with monkeypatch.context() as patch:
        keep_snapshots(patch, tmp_path / "run", tmp_path / "at")
        main(fit_args(tmp_path / "run", METHODS["AdaLoRA"]))

    def pruned(path: Path) -> int:
        ranks = torch.load(path / LAST, weights_only=True)["tuning_state"]["rank_pattern"]
        return sum(kept.count(False) for kept in ranks.values())

    early, late, end = (pruned(path) for path in (tmp_path / "at/batch-03", tmp_path / "at/batch-07", tmp_path / "run"))
    assert 0 < early < late < end == 24  # of 12 layers with 4 ranks each, 2 are left on average


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AdaLoRA", "GradualUnfreezing-steps"])
def test_a_killed_run_goes_on(name: str, fit_args: Any, tmp_path: Path) -> None:
    kill_when(fit_args(tmp_path / "killed", METHODS[name]), tmp_path / "killed" / LAST)
    assert json.loads((tmp_path / "killed/run.json").read_text())["status"] == "running"
    ftlit(["fit", "--resume", "--run_dir", str(tmp_path / "killed")])
    main(fit_args(tmp_path / "whole", METHODS[name]))
    assert differences(final_state(tmp_path / "whole"), final_state(tmp_path / "killed")) == []


def test_what_ranks_depend_on_goes_to_the_device_with_the_backbone(tiny: Callable[[str], str]) -> None:
    """A checkpoint is read on the processor, before the model is moved."""
    module, again = (tuned(tiny("bert"), AdaLoRA(r=2, init_r=4), seed) for seed in (0, 1))
    fit(module)
    again.on_load_checkpoint(saved(module))
    again.to("meta")
    again.tuning.begin(again.backbone, 3)
    state = again.tuning.state(again.backbone)
    for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
        assert len(state[name]) == 36
        assert {value.device.type for value in state[name].values()} == {"meta"}

"""Mixed precision is the default where the hardware multiplies bfloat16, and refused on processors that do not.

Weights of 16 bits lose small updates to rounding, which is said at the start and stops a run that learns little.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from ftlit.errors import UserError
from ftlit.losses import CrossEntropy
from ftlit.tasks import QuestionAnswering, TextClassification
from ftlit.training.bfloat16 import check_precision, default_precision, keep_inputs, native_bfloat16, precision_note
from ftlit.training.checks import TrainingChecks
from ftlit.tuning import Full, LoRA, Tuning
from tests.support.command_line import arguments, refusal
from tests.support.tuning.life import fit, texts, tuned


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


# Weights of 16 bits


def trained(folder: str, lr: float, precision: str, steps: int = 21, **options: Any) -> None:
    """Train with the checks of a run and a constant learning rate."""
    adam = {"optimizer": lambda params: torch.optim.AdamW(params, lr=lr), "schedule": "constant", "warmup_ratio": 0.0}
    module = tuned(folder, **{**adam, **options})
    fit(module, [texts(seed) for seed in range(steps)], TrainingChecks(), precision=precision)


def test_updates_that_rounding_undoes_stop_a_run(tiny: Callable[[str], str]) -> None:
    says = (
        r"after 20 optimizer steps \d\d% of the trained weights have not moved, such as those of model\.bert\.\S+: "
        r"trainer\.precision bf16-true rounds updates away .*; take bf16-mixed or 32-true, or raise model\.optimizer\.lr"
    )
    with pytest.raises(UserError, match=says):
        trained(tiny("bert"), 2e-5, "bf16-true", tuning=Full())


@pytest.mark.parametrize(
    ("lr", "precision", "tuning"), [(5e-3, "bf16-true", Full()), (2e-5, "32-true", Full()), (0.02, "bf16-true", LoRA(r=2))]
)
def test_updates_that_arrive_do_not(lr: float, precision: str, tuning: Tuning, tiny: Callable[[str], str]) -> None:
    trained(tiny("bert"), lr, precision, tuning=tuning)


def test_it_is_said_at_the_start() -> None:
    note = precision_note("bf16-true")
    assert note is not None
    assert note.startswith(
        "trainer.precision bf16-true keeps the weights themselves in 16 bits: an update below about 1/256 of"
    )
    assert "1/2048" in (precision_note("16-true") or "")
    assert [precision_note(other) for other in ("32-true", "64-true", "bf16-mixed", "16-mixed")] == [None] * 4


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "32-true"])
def test_labels_and_weights_are_not_rounded(precision: str) -> None:
    trainer = Trainer(accelerator="cpu", precision=precision, logger=False, barebones=True)
    keep_inputs(trainer)
    batch = {"labels": torch.tensor([16777217.0], dtype=torch.float64), "loss_weights": torch.tensor([301.0])}
    found = trainer.precision_plugin.convert_input(batch)
    assert {key: (value.dtype, value.tolist()) for key, value in found.items()} == {
        "labels": (torch.float64, [16777217.0]),
        "loss_weights": (torch.float32, [301.0]),
    }


def test_metrics_and_buffers_keep_their_precision_in_a_model_of_bfloat16(tiny: Callable[[str], str]) -> None:
    weights = {"loss": CrossEntropy(class_weights=[1.001, 3.0]), "label_counts": [1, 1, 2]}
    task = TextClassification(backbone=tiny("bert"), pad_token_id=0, label_names=["a", "b"], **weights)
    task = task.to(dtype=torch.bfloat16).to("cpu")
    assert {weight.dtype for weight in task.model.parameters()} == {torch.bfloat16}
    assert task.class_weights is not None
    assert task.class_weights.tolist() == pytest.approx([1.001, 3.0], rel=1e-6)
    loss = task.evaluators["test"].means["loss"]
    for _ in range(2):
        for _ in range(600):
            loss.update(torch.tensor([1.001]), torch.ones(1))
        assert float(loss.compute()) == pytest.approx(1.001, rel=1e-6)
        assert (loss.weights.dtype, float(loss.weights)) == (torch.float64, 600)
        loss.reset()
    answers = QuestionAnswering(backbone=tiny("bert"), pad_token_id=0)
    answers.tuned_threshold.fill_(1.001)
    assert answers.to(dtype=torch.bfloat16).threshold == 1.001

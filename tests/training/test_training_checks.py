"""What goes wrong without a word elsewhere stops a run here, with a sentence; a sound run passes."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.training.checks import check_gradients, check_learned, check_modes, frozen_values, shown, values, zero_starts
from ftlit.tuning import BottleneckAdapter, Frozen, GradualUnfreezing, LoRA
from ftlit.tuning.base import set_scheduled
from tests.support.command_line import arguments
from tests.support.small import classifier, ragged_batch, saved
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]
Fit = Callable[..., list[str]]


def weight_of(module: Any, name: str) -> torch.Tensor:
    """The data of the first weight whose name has a part."""
    return next(weight.data for found, weight in module.named_parameters() if name in found)


class MovesAFrozenWeight(Callback):
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        weight_of(pl_module, "word_embeddings")[50, 16] += 1e-6


class FreezesTheHead(Callback):
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        pl_module.model.classifier.requires_grad_(False)


class TurnsDropoutOff(Callback):
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.backbone.encoder.layer[1].eval()


class TurnsDropoutOn(Callback):
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.backbone.train()


class AddsAnUnusedPart(Callback):
    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        pl_module.model.spare = nn.Linear(2, 2)


class UndoesTheUpdates(Callback):
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        for name, weight in pl_module.named_parameters():
            if "lora_B" in name or "adapter.up" in name:
                weight.data.zero_()


@pytest.fixture
def fit(tiny: Tiny, sentiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Arguments of a run of 11 steps an epoch, with a callback that spoils it."""
    monkeypatch.setattr(sys, "argv", ["ftlit"])

    def make(spoiler: type[Callback] | None, tuning: str, **options: Any) -> list[str]:
        given = {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": sentiment}
        spoilt = {"trainer__callbacks": f"{__name__}.{spoiler.__name__}"} if spoiler else {}
        return arguments(
            "fit", "TextClassification", "TextClassificationData", **given, **spoilt, model__tuning=tuning, **options
        )

    return make


SPOILT = [
    (
        MovesAFrozenWeight,
        "LoRA",
        {},
        r"frozen weights have changed in training: model\.bert\.base_model\.model\.embeddings\.word_embeddings\.weight; "
        r"model\.tuning LoRA\(r=8.*\) does not train them, and checkpoints do not contain them: a callback or class of "
        r"yours writes to them, or passes them to an optimizer; remove this, or choose a model\.tuning that trains them",
    ),
    (
        MovesAFrozenWeight,
        "HeadFirst",
        {"model__tuning__steps": 10, "trainer__val_check_interval": 4},  # the check comes while the backbone waits
        r"frozen weights have changed in training: model\.bert\.embeddings\.word_embeddings\.weight; model\.tuning HeadFirst",
    ),
    (
        FreezesTheHead,
        "LoRA",
        {},
        r"the checkpoint would lack 2 weights that were to train, \['model\.classifier\.bias', 'model\.classifier\.weight'\]: "
        r"they were frozen or renamed in the course of training, .* set their learning rate to 0 by model\.head_lr_factor",
    ),
    (
        TurnsDropoutOff,
        "Full",
        {},
        r"dropout is off in model\.bert\.encoder\.layer\.1, which trains: .* call train\(\) on it, or set its dropout to 0",
    ),
    (
        TurnsDropoutOn,
        "Frozen",
        {},
        r"dropout is on in model\.backbone, which model\.tuning Frozen\(embeddings=None\) keeps in evaluation mode so that its "
        r"features are fixed; a callback or class of yours calls train\(\) on it: leave that out",
    ),
    (
        AddsAnUnusedPart,
        "Full",
        {},
        r"2 of \d+ trained weights have no gradient at the first optimizer step: model\.spare\.weight, model\.spare\.bias; "
        r"the loss does not depend on them, .* use it in forward, or freeze it or set it to None where the model is built",
    ),
    (
        UndoesTheUpdates,
        "LoRA",
        {"trainer__max_epochs": 2},
        r"12 of 12 updates are still all zero after 20 optimizer steps with a learning rate above 0: "
        r"\S+query\.lora_B\.default\.weight, \S+key\S+, \S+value\S+ and 9 more; their gradients are zero",
    ),
    (
        UndoesTheUpdates,
        "BottleneckAdapter",
        {"trainer__max_epochs": 2},
        r"2 of 2 updates are still all zero after 20 optimizer steps .*: \S+layer\.0\.output\.dense\.adapter\.up\.weight, ",
    ),
]


AT_ONCE = (TurnsDropoutOff, TurnsDropoutOn, AddsAnUnusedPart)  # found at the first batch


@pytest.mark.parametrize(("spoiler", "tuning", "options", "text"), SPOILT, ids=[f"{s.__name__}-{t}" for s, t, *_ in SPOILT])
def test_a_spoilt_run_stops(
    spoiler: type[Callback], tuning: str, options: dict[str, Any], text: str, fit: Fit, tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as left:
        main(fit(spoiler, tuning, **options))
    assert left.value.code == 2
    assert re.search(text, capsys.readouterr().err)
    if spoiler in AT_ONCE:  # the run has not started
        assert not (tmp_path / "run").exists()
        return
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["status"] == "failed"
    assert re.search(text, record["error"])


SOUND = [
    ("HeadFirst", {"model__tuning__steps": 3, "model__tuning__then": "LoRA"}),
    ("GradualUnfreezing", {"model__tuning__steps": "[3, 6]"}),
    ("AdaLoRA", {"trainer__accumulate_grad_batches": 2}),
    ("PromptTuning", {}),
    ("LoRA", {"model__optimizer": "AdamW", "model__optimizer__lr": 1e-30}),  # zero for ever, and rightly so
]


@pytest.mark.parametrize(("tuning", "options"), some_by_default(SOUND, chosen=(0, 4)))
def test_a_sound_run_passes(tuning: str, options: dict[str, Any], fit: Fit, tmp_path: Path) -> None:
    main(fit(None, tuning, trainer__max_epochs=2, trainer__val_check_interval=4, patience="null", **options))
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["status"] == "completed"
    counts = record["parameters"]
    assert counts["trained_share"] == counts["trained"] / counts["total"]


def test_the_checks_can_be_switched_off(fit: Fit, tmp_path: Path) -> None:
    main(fit(MovesAFrozenWeight, "Frozen", training_checks="false"))
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "completed"


# The checks alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8])
@pytest.mark.parametrize("shape", [(3, 5), (1,), (4, 4), (0, 3)])
def test_every_bit_of_a_weight_counts(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    weight = nn.Parameter(torch.ones(shape, dtype=dtype), requires_grad=False)
    before = values({"w": weight})
    assert values({"w": nn.Parameter(weight.clone(), requires_grad=False)}) == before
    for place in range(weight.numel()):
        changed = weight.detach().clone()
        changed.view(-1).view(torch.uint8)[place * weight.element_size()] ^= 1
        assert values({"w": nn.Parameter(changed, requires_grad=False)}) != before


def test_a_weight_that_waits_may_change_once_it_trains(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=GradualUnfreezing())
    found = frozen_values(module)
    inside = {name for name, _ in module.named_parameters() if ".embeddings." in name or ".encoder." in name}
    assert {name for name, (_, waited) in found.items() if waited} == found.keys() == inside
    for weight in module.backbone.parameters():
        set_scheduled(weight, False)
    assert frozen_values(module) == {}


def test_zero_gradients_are_gradients(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=LoRA())
    (0 * module.training_step(ragged_batch(), 0)).backward()
    check_gradients(module)
    module.model.classifier.weight.grad = None
    with pytest.raises(UserError, match=r"1 of 26 trained weights have no gradient .*: model\.classifier\.weight; the loss"):
        check_gradients(module)


def test_modes_as_the_method_left_them_pass(tiny: Tiny) -> None:
    for tuning in (Frozen(), LoRA(), Frozen(embeddings=True)):
        module = classifier(tiny("bert"), tuning=tuning)
        check_modes(module, {name: part.training for name, part in module.named_modules()})


def test_a_part_that_trains_without_dropout_from_the_start(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=LoRA())
    module.backbone.eval()  # as a method from outside may leave it
    with pytest.raises(UserError, match=r"dropout is off in model\.bert\.\S+\.lora_A\.default, which trains"):
        check_modes(module, {name: part.training for name, part in module.named_modules()})


def test_watched_are_weights_that_begin_at_zero(tiny: Tiny) -> None:
    for tuning, part in ((LoRA(), "lora_B"), (BottleneckAdapter(kind="houlsby"), "up.weight")):
        module = classifier(tiny("bert"), tuning=tuning)
        optimizer = torch.optim.SGD([w for w in module.parameters() if w.requires_grad], lr=1.0)
        (start,) = zero_starts(module, optimizer)
        assert set(start.weights) == {n for n, w in module.named_parameters() if part in n and not w.any()} != set()
        next(iter(start.weights.values())).data.fill_(1.0)
        with pytest.raises(UserError, match=f"{len(start.weights) - 1} of {len(start.weights)} updates are still all zero"):
            check_learned(start.weights)


def test_a_checkpoint_holds_what_was_to_train(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=LoRA())
    saved(module)
    module.model.classifier.weight.requires_grad_(False)
    with pytest.raises(
        UserError, match=r"the checkpoint would lack 1 weights that were to train, \['model\.classifier\.weight'\]"
    ):
        saved(module)


def test_names_are_shortened() -> None:
    assert shown(["a", "b", "c"]) == "a, b, c"
    assert shown(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"

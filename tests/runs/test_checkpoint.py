"""Checkpoints that refuse to load wrongly, and are whole or not there."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from ftlit.errors import UserError
from ftlit.heads import TaskHead
from ftlit.runs.checkpoint import AtomicCheckpointIO, find_checkpoint, frozen_digest, frozen_keys, trained_keys
from ftlit.tasks import TextClassification
from ftlit.tuning import BitFit, Frozen, Full, LoRA, TopLayers, Tuning
from tests.support.small import classifier

Tiny = Callable[[str], str]


def checkpoint_of(module: TextClassification) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    return checkpoint


PAIRS: list[tuple[Tuning, Tuning, str, str]] = [
    # saved with, loaded into, what it lacks, what does not belong
    (LoRA(), Full(), "39 trained weights", "'model.bert.base_model.model.encoder.layer.0.attention.output.dense.lora_A"),
    (Full(), LoRA(), "24 trained weights", "'model.bert.embeddings.LayerNorm.bias'"),
    (LoRA(), LoRA(dora=True), "12 trained weights", "has 0 that do not belong"),
    (LoRA(dora=True), LoRA(), "lacks 0 trained weights", "has 12 that do not belong"),
    (LoRA(), BitFit(), "'model.bert.embeddings.LayerNorm.bias'", "has 24 that do not belong"),
    (BitFit(), LoRA(), "lacks 24 trained weights", "'model.bert.embeddings.LayerNorm.bias'"),
    (BitFit(), Full(), "'model.bert.embeddings.LayerNorm.weight'", "has 0 that do not belong"),
    (Frozen(), TopLayers(1), "'model.bert.encoder.layer.1", "has 0 that do not belong"),
]


@pytest.mark.parametrize(("source", "target", "lacks", "extra"), PAIRS, ids=lambda value: str(value)[:20])
def test_a_checkpoint_of_another_method_is_refused(source: Tuning, target: Tuning, lacks: str, extra: str, tiny: Tiny) -> None:
    checkpoint = checkpoint_of(classifier(tiny("bert"), tuning=source, head=TaskHead()))
    module = classifier(tiny("bert"), tuning=target, head=TaskHead())
    for load in (module.on_load_checkpoint, lambda found: module.load_state_dict(found["state_dict"])):
        with pytest.raises(UserError) as refused:
            load(checkpoint)
        said = str(refused.value)
        assert said.startswith(f"the checkpoint was not made with model.tuning {target}: it lacks ")
        assert said.endswith("; use the config that it was made with")
        assert lacks in said
        assert extra in said


@pytest.mark.parametrize(("source", "target"), [(Full(), Frozen()), (TopLayers(1), Frozen()), (Full(), BitFit())])
def test_a_checkpoint_with_more_trained_weights_is_refused(source: Tuning, target: Tuning, tiny: Tiny) -> None:
    """Its names all belong; what it trained would lie on weights that the config calls frozen."""
    checkpoint = checkpoint_of(classifier(tiny("bert"), tuning=source, head=TaskHead()))
    with pytest.raises(UserError, match=r"the frozen weights of model\.backbone .* are not those that it was trained on"):
        classifier(tiny("bert"), tuning=target, head=TaskHead()).on_load_checkpoint(checkpoint)


def sibling(folder: str, to: Path, change: Callable[[torch.nn.Module], None]) -> str:
    """A backbone of the same names and shapes with other weights."""
    shutil.copytree(folder, to)
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        change(model)
    model.save_pretrained(to)
    return str(to)


def other_words(model: Any) -> None:
    model.embeddings.word_embeddings.weight.add_(0.01)


@pytest.mark.parametrize("tuning", [Frozen(), BitFit(), LoRA(), TopLayers(1)])
def test_another_backbone_of_the_same_shapes_is_refused(tuning: Tuning, tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(classifier(tiny("bert"), tuning=tuning))
    other = sibling(tiny("bert"), tmp_path / "other", other_words)
    with pytest.raises(UserError, match=r"frozen weights of model\.backbone '.*other' are not those .*use the same backbone"):
        classifier(other, tuning=tuning).on_load_checkpoint(checkpoint)
    moved = shutil.copytree(tiny("bert"), tmp_path / "moved")
    classifier(str(moved), tuning=tuning).on_load_checkpoint(checkpoint)


def test_a_whole_checkpoint_needs_no_frozen_weights(tiny: Tiny, tmp_path: Path) -> None:
    module = classifier(tiny("bert"))
    other = classifier(sibling(tiny("bert"), tmp_path / "other", other_words))
    assert module.frozen_digest == other.frozen_digest == ""
    other.on_load_checkpoint(checkpoint_of(module))


def test_the_digest_does_not_change_with_training(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=LoRA())
    before = frozen_digest(module)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                weight.add_(1.0)
    assert frozen_digest(module) == before
    next(w for w in module.parameters() if not w.requires_grad).data.add_(1e-6)
    assert frozen_digest(module) != before


def test_tied_weights_are_frozen_under_every_name() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.Linear(2, 3, bias=False), torch.nn.BatchNorm1d(3))
    model[1].weight = model[0].weight.requires_grad_(False)
    assert frozen_keys(model) == {"0.weight", "1.weight"}
    buffers = {"2.running_mean", "2.running_var", "2.num_batches_tracked"}
    assert trained_keys(model) == {"2.weight", "2.bias"} | buffers


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_saved(value: float, tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=LoRA())
    module.model.classifier.bias.data[0] = value
    with pytest.raises(UserError, match=r"weights are no longer finite at step 0; no checkpoint of them was written"):
        checkpoint_of(module)


class Unwritable:
    """Breaks off the writing of what stands before it."""

    def __reduce__(self) -> Any:
        raise OSError("no space left on device")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, path)
    with pytest.raises(UserError, match=r"last.ckpt could not be written: no space left"):
        io.save_checkpoint({"weights": torch.zeros(100_000), "broken": Unwritable()}, path)
    assert torch.load(path) == {"step": 1}
    with pytest.raises(UserError, match=r"best.ckpt could not be written: no space left"):
        io.save_checkpoint({"broken": Unwritable()}, tmp_path / "inside" / "best.ckpt")
    assert [file.name for file in tmp_path.rglob("*.ckpt*")] == ["last.ckpt"]


def test_a_write_that_dies_half_way_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(checkpoint: Any, path: Any) -> None:
        Path(path).write_bytes(b"half a file")
        raise KeyboardInterrupt

    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            io.save_checkpoint({"step": 2}, path)
    assert torch.load(path) == {"step": 1}
    io.save_checkpoint({"step": 3}, path)  # the left-over half is no obstacle
    assert torch.load(path) == {"step": 3}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_checkpoints_are_found_by_name_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("best.ckpt", "last.ckpt", "other.ckpt"):
        (folder / name).touch()
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    assert find_checkpoint(run) == folder / "best.ckpt"
    assert find_checkpoint(run, "last") == folder / "last.ckpt"
    assert find_checkpoint(run, "checkpoints/other.ckpt") == folder / "other.ckpt"
    assert find_checkpoint(run, str(folder / "other.ckpt")) == folder / "other.ckpt"
    assert find_checkpoint(run, "run/checkpoints/other.ckpt").samefile(folder / "other.ckpt")


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_run_without_checkpoints(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best").touch()  # a name is never a path
    with pytest.raises(UserError, match=r"does not exist: .*run holds no finished run; train one with `python -m ftlit fit`"):
        find_checkpoint(tmp_path / "run", which)


@pytest.mark.parametrize("which", ["no/such.ckpt", "."])
def test_a_checkpoint_that_is_not_there(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"the checkpoint {which} does not exist; expected a path such as .*best.ckpt"):
        find_checkpoint(tmp_path / "run", which)

"""Stored states of the frozen lowest layers: results are those without them, and files are made once and checked."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftlit import BottleneckAdapter, Frozen, Full, GradualUnfreezing, HeadFirst, LoRA, PromptTuning, TopLayers
from ftlit.errors import UserError
from ftlit.training.stored import folder
from ftlit.training.stored.canonical import canonical_batches
from ftlit.training.stored.store import Store, layout_of, writing
from ftlit.training.trunk import callback
from tests.support.data import sentiment_splits, write_splits
from tests.support.small import classifier

Tiny = Callable[[str], str]
METHODS = {
    "Frozen": (Frozen(), 2),
    "TopLayers": (TopLayers(1), 1),
    "LoRA on the upper layer": (LoRA(r=2, layers=[1, 1]), 1),
    "Full": (Full(), 0),
    "LoRA": (LoRA(r=2), 0),
    "BottleneckAdapter": (BottleneckAdapter(), 0),
    "PromptTuning": (PromptTuning(2), 0),
    "embeddings": (Frozen(embeddings=True), 0),
    "HeadFirst": (HeadFirst(), 2),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_trunk_is_what_lies_below_everything_that_trains(name: str, tiny: Tiny) -> None:
    tuning, depth = METHODS[name]
    module = classifier(tiny("bert"), tuning=tuning)
    assert module.stages.trunk.depth == depth


def test_the_trunk_rests_and_wakes_with_the_stages(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=GradualUnfreezing())
    layers = module.backbone.encoder.layer
    found = []
    for stage in range(4):
        module.stages.enter(module, stage)
        found.append((module.stages.trunk.depth, [layer.attention.self.dropout.training for layer in layers]))
    assert found == [(2, [False, False]), (1, [False, True]), (0, [True, True]), (0, [True, True])]
    assert module.backbone.embeddings.dropout.training


# The file


def test_states_come_back_with_the_same_bits(tmp_path: Path) -> None:
    states, counts = torch.randn(9, 4).to(torch.bfloat16), [2, 3, 4]
    with writing(tmp_path / "a", "key", 3) as writer:
        writer.add([2, 0], [4, 2], torch.cat([states[5:], states[:2]]))
        writer.add([1], [3], states[2:5])
    layout = layout_of(tmp_path / "a", "key")
    assert layout is not None
    assert layout.counts.tolist() == counts
    store = Store(tmp_path / "a", layout)
    assert torch.equal(store.read([0, 1, 2]), states)
    assert torch.equal(store.read([2, 1]), torch.cat([states[5:], states[2:5]]))


@pytest.mark.parametrize("left", [0, 10, 60, -1])
def test_a_file_that_was_cut_or_holds_other_states_is_no_store(tmp_path: Path, left: int) -> None:
    with writing(tmp_path / "a", "key", 1) as writer:
        writer.add([0], [5], torch.randn(5, 4))
    assert layout_of(tmp_path / "a", "other") is None
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[:left])
    assert layout_of(tmp_path / "a", "key") is None
    (tmp_path / "a").write_bytes(content[8:])
    assert layout_of(tmp_path / "a", "key") is None


def test_texts_of_one_length_are_computed_together() -> None:
    lengths = np.array([3, 5, 3, 2000, 3, 2000, 2000])
    assert list(canonical_batches(lengths)) == [[0, 2, 4], [1], [3, 5], [6]]
    assert list(canonical_batches(np.array([], dtype=np.int64))) == []


def test_the_oldest_states_make_room_for_new_ones(states: Path) -> None:
    for i, name in enumerate("abc"):
        (states / f"{name}.states").write_bytes(bytes(100))
        os.utime(states / f"{name}.states", (i, i))
    assert folder.reason_of_room(150, 400, states / "new.states") is None
    assert sorted(path.stem for path in states.glob("*.states")) == ["b", "c"]


# Runs


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of states."""
    place = tmp_path / "states"
    place.mkdir()
    monkeypatch.setattr(folder, "states_folder", lambda: place)
    return place


Run = tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]


def run(backbone: str, data: str, run_dir: Path, resume: bool = False, **options: Any) -> Run:
    """The predictions, results and weights of a small run."""
    import ftlit

    torch.manual_seed(0)
    limit = options.pop("cache_limit", 10.0)
    trainer = {"max_epochs": 2, "precision": "32-true", "accelerator": "cpu", "enable_progress_bar": False}
    module = ftlit.TextClassificationData(dataset=data, backbone=backbone, cache_limit=limit)
    task = ftlit.TextClassification(backbone=backbone, **module.task_arguments(), **options)
    ftlit.fit(task, module, run_dir, trainer, resume=resume, test_after_fit=True)
    lines = (run_dir / "predictions" / "test.jsonl").read_text().splitlines()
    weights = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return [json.loads(line) for line in lines], json.loads((run_dir / "results.json").read_text()), weights


@pytest.fixture
def text_data(tmp_path: Path) -> str:
    """A small data set with texts of unlike lengths."""
    return write_splits(tmp_path / "data", sentiment_splits())


@pytest.mark.parametrize("tuning", [Frozen(), TopLayers(1)], ids=["Frozen", "TopLayers"])
def test_results_are_those_without_the_cache(tuning: Any, tiny: Tiny, text_data: str, states: Path, tmp_path: Path) -> None:
    found, other = (
        run(tiny("bert"), text_data, tmp_path / str(cache), tuning=tuning, trunk_cache=cache) for cache in (True, False)
    )
    assert len(list(states.glob("*.states"))) == 3
    for one, two in zip(found[0], other[0], strict=True):
        assert one["scores"] == pytest.approx(two["scores"], abs=1e-5)
    assert found[1]["validation"]["loss"] == pytest.approx(other[1]["validation"]["loss"], abs=1e-5)
    assert found[2].keys() == other[2].keys()
    record = json.loads((tmp_path / "True" / "run.json").read_text())
    assert record["trunk_cache"] == {"2" if tuning == Frozen() else "1": True}


def test_stored_states_and_computed_ones_give_the_same_bits(tiny: Tiny, text_data: str, states: Path, tmp_path: Path) -> None:
    first = run(tiny("bert"), text_data, tmp_path / "first", tuning=TopLayers(1))
    made = {path.name: path.read_bytes() for path in states.glob("*.states")}
    again = run(tiny("bert"), text_data, tmp_path / "again", tuning=TopLayers(1))
    for path in states.glob("*.states"):
        path.write_bytes(path.read_bytes()[:-9])  # cut
    anew = run(tiny("bert"), text_data, tmp_path / "anew", tuning=TopLayers(1))
    assert {path.name: path.read_bytes() for path in states.glob("*.states")} == made
    for other in (again, anew):
        assert other[0] == first[0]
        assert all(torch.equal(weight, first[2][name]) for name, weight in other[2].items())


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(tiny: Tiny, text_data: str, states: Path, tmp_path: Path) -> None:
    from ftlit.training import resume as resuming

    whole = run(tiny("bert"), text_data, tmp_path / "whole", tuning=TopLayers(1))
    copies: list[Path] = []

    def copying(self: Any, trainer: Any, *args: Any, **kwargs: Any) -> None:
        original(self, trainer, *args, **kwargs)
        copies.append(tmp_path / f"copy{len(copies)}")
        shutil.copytree(tmp_path / "cut", copies[-1])

    original = resuming.LastCheckpoint.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming.LastCheckpoint, "save", copying)
        run(tiny("bert"), text_data, tmp_path / "cut", tuning=TopLayers(1))
    shutil.rmtree(states)
    states.mkdir()
    found = run(tiny("bert"), text_data, copies[0], tuning=TopLayers(1), resume=True)
    assert found[0] == whole[0]
    assert all(torch.equal(weight, whole[2][name]) for name, weight in found[2].items())


def test_other_weights_texts_and_depths_have_other_states(tiny: Tiny, text_data: str, states: Path, tmp_path: Path) -> None:
    names = set[str]()
    for i, options in enumerate(({"tuning": Frozen()}, {"tuning": TopLayers(1)}, {"tuning": Frozen(), "init": True})):
        backbone = tiny("bert")
        if options.pop("init", False):
            from safetensors.torch import load_file, save_file

            backbone = shutil.copytree(backbone, tmp_path / "other")
            weights = load_file(Path(backbone) / "model.safetensors")
            weights["embeddings.word_embeddings.weight"][50, 3] += 1e-3  # of one word alone
            save_file(weights, Path(backbone) / "model.safetensors", metadata={"format": "pt"})
        run(str(backbone), text_data, tmp_path / f"run{i}", **options)
        found = {path.name for path in states.glob("*.states")}
        assert len(found - names) == 3
        names |= found


def test_states_above_the_limit_are_left_out(
    tiny: Tiny, text_data: str, states: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny("bert"), text_data, tmp_path / "run", tuning=Frozen(), cache_limit=1e-6)
    assert "the frozen layers are computed again in each epoch: the stored values would take" in capsys.readouterr().out
    assert not list(states.glob("*.states"))


def test_a_full_disk_is_left_alone(
    tiny: Tiny, text_data: str, states: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(folder, "SPARE", 2**60)
    run(tiny("bert"), text_data, tmp_path / "run", tuning=Frozen())
    assert capsys.readouterr().out.count("the frozen layers are computed again in each epoch: ") == 1


def test_states_that_cannot_be_stored_later_do_not_end_a_run(
    tiny: Tiny, text_data: str, states: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    whole = run(tiny("bert"), text_data, tmp_path / "whole", tuning=Frozen())
    shutil.rmtree(states)
    states.mkdir()
    original = callback.stored

    def full(values: Any, limit: int) -> Store:
        if not values.name.endswith("train"):
            raise UserError("the disk is full")
        return original(values, limit)

    monkeypatch.setattr(callback, "stored", full)
    capsys.readouterr()
    found = run(tiny("bert"), text_data, tmp_path / "run", tuning=Frozen())
    said = capsys.readouterr().out
    for split in ("validation", "test"):
        line = f"computed again on {split}, which may change last bits of the results: the disk is full"
        assert said.count(line) == 1
    assert len(list(states.glob("*.states"))) == 1
    for one, two in zip(found[0], whole[0], strict=True):
        assert one["scores"] == pytest.approx(two["scores"], abs=1e-5)


def test_true_is_refused_with_the_reason(tiny: Tiny, text_data: str, tmp_path: Path) -> None:
    said = "model.trunk_cache is true, but model.tuning Full trains the lowest layer, or changes what it reads; set it to false"
    with pytest.raises(UserError, match=said):
        run(tiny("bert"), text_data, tmp_path / "run", trunk_cache=True)
    assert not (tmp_path / "run" / "run.json").exists()


def _hold(path: Path, entered: Any, order: Any, name: str) -> None:
    with folder.filling(path):
        order.append(name)
        entered.set()
        if not path.exists():
            path.write_bytes(b"made")
            order.append(f"made by {name}")


def test_two_processes_make_a_file_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        order, entered = manager.list(), context.Event()
        others = [context.Process(target=_hold, args=(tmp_path / "a", entered, order, name)) for name in "xy"]
        with folder.filling(tmp_path / "a"):
            for other in others:
                other.start()
            assert not entered.wait(0.3)
        for other in others:
            other.join(20)
        assert sum(text.startswith("made") for text in order) == 1
        assert len(order) == 3

"""Outputs of a teacher that are computed once: what is read is what it says, from the disk, from memory and after a kill."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor

from ftlit import data as data_classes
from ftlit import tasks as task_classes
from ftlit.__main__ import main
from ftlit.data import TextClassificationData
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.runs.files import BEST
from ftlit.tasks import CausalLM, TaskModule, TextClassification
from ftlit.tasks.shared.teacher import Teacher
from ftlit.training.stored import folder
from ftlit.training.stored.canonical import Passes
from ftlit.training.stored.filling import held, stored
from ftlit.training.teacher.decision import computed_once, reason_against
from ftlit.training.teacher.lessons import lesson_splits, lesson_values
from tests.support.chats import chat_model
from tests.support.command_line import arguments, refusal
from tests.support.every_task import CASES, options_of
from tests.support.resuming import differences, final_state, keep_snapshots
from tests.support.runs import fitted
from tests.support.small import QUIET, classifier

LIMIT = 2**30
STEPS = 11  # of an epoch of the small data set


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of stored values."""
    place = tmp_path / "states"
    place.mkdir()
    monkeypatch.setattr(folder, "states_folder", lambda: place)
    return place


@pytest.fixture
def options(finished: Callable[[str], Path], tiny: Callable[[str], str], sentiment: str) -> dict[str, Any]:
    """A student of one layer that learns for two epochs from a finished run."""
    student = {"model__backbone": tiny("bert"), "model__keep_layers": "[1]", "model__teacher": finished("Full")}
    return {**student, "model__loss": "Distillation", "data__dataset": sentiment, "trainer__max_epochs": 2}


def train(run_dir: Path, options: dict[str, Any], **others: Any) -> dict[str, Tensor]:
    """The weights of the student at the end of its training."""
    fitted(run_dir, "TextClassification", **{**options, **others})
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def quiet_trainer(**settings: Any) -> Trainer:
    return Trainer(accelerator="cpu", max_epochs=1, **{**QUIET, **settings})


# What is read


def passes_of(task: str, kind: str, root: Path, **data_options: Any) -> Passes:
    """A student with its data, and a teacher with other weights."""
    root.mkdir(exist_ok=True)
    given = {key.replace("model__", "m_").replace("data__", ""): value for key, value in options_of(task, kind, root).items()}
    backbone = given.pop("m_backbone")
    data = getattr(data_classes, f"{task}Data")(backbone=backbone, limit_train=40, **given, **data_options)
    data.setup("fit")
    kind_of = getattr(task_classes, task)
    student, teacher = (kind_of(backbone=backbone, **data.task_arguments()) for _ in range(2))
    student.__dict__["teacher"] = Teacher(teacher, "here")
    data.trainer = quiet_trainer()
    return Passes(student, data, data.trainer)


SMALL = {
    task: given["data"]
    for task, given, _ in reversed(CASES)
    if getattr(task_classes, task).lesson_unit is not None and "multi_label" not in given
}


def test_the_outputs_of_all_tasks_but_those_with_a_vocabulary_are_stored() -> None:
    assert {task for task, _, _ in CASES} - {*SMALL} == {"MaskedLM", "CausalLM", "Seq2Seq"}


@pytest.mark.parametrize(("task", "kind"), SMALL.items())
def test_a_batch_reads_what_the_teacher_makes_of_it(task: str, kind: str, states: Path, tmp_path: Path) -> None:
    """Up to the last bits, which depend on the padding and the size of a batch."""
    passes = passes_of(task, kind, tmp_path / "case")
    assert reason_against(passes) is None
    teacher = passes.task.teacher
    values = lesson_values(passes, "train")
    store, memory = stored(values, LIMIT), held(values)
    for batch in passes.data.train_dataloader():
        expected = teacher.lessons(batch)
        teacher.stored["train"] = store.read
        found = teacher.lessons(batch)
        teacher.stored.clear()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        assert torch.equal(found, memory.read(batch["feature_ids"].tolist()))
    assert (states / f"{values.key}.states").stat().st_size < values.size() + 4000


def test_texts_without_labels_are_read_too(states: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("word1 good\nbad word2 word3\nword7\n")
    passes = passes_of("TextClassification", "sentiment", tmp_path / "case", unlabelled=str(tmp_path / "texts.txt"))
    assert lesson_splits(passes) == ["train", "unlabelled"]
    store, teacher = stored(lesson_values(passes, "unlabelled"), LIMIT), passes.task.teacher
    for batch in passes.data.train_dataloader():
        expected = teacher.lessons(batch["unlabelled"])
        teacher.stored["unlabelled"] = store.read
        torch.testing.assert_close(teacher.lessons(batch["unlabelled"]), expected, atol=1e-5, rtol=1e-4)
        teacher.stored.clear()


def test_all_that_changes_the_outputs_changes_the_key(tiny: Callable[[str], str], sentiment: str) -> None:
    backbone = tiny("bert")

    def key(teacher: TaskModule | None = None, precision: str = "32-true", limit: int = 40) -> str:
        data = TextClassificationData(dataset=sentiment, backbone=backbone, limit_train=limit)
        data.setup("fit")
        student = classifier(backbone)
        student.__dict__["teacher"] = Teacher(teacher or classifier(backbone, head=PooledHead("mean")), "here")
        return lesson_values(Passes(student, data, quiet_trainer(precision=precision)), "train").key

    others = [
        key(classifier(backbone, seed=1, head=PooledHead("mean"))),
        key(classifier(backbone, head=PooledHead("max"))),
        key(precision="bf16-mixed"),
        key(limit=39),
    ]
    assert key() == key()
    assert len({key(), *others}) == 5


# Runs


def test_the_disk_and_memory_give_the_same_bits(options: dict[str, Any], states: Path, tmp_path: Path) -> None:
    memory = train(tmp_path / "memory", options, model__teacher_cache="false")
    assert not list(states.iterdir())
    first = train(tmp_path / "first", options, model__teacher_cache="true")
    made = {path.name: path.read_bytes() for path in states.glob("*.states")}
    assert len(made) == 1
    for path in states.glob("*.states"):
        path.write_bytes(path.read_bytes()[:-9])  # cut
    anew = train(tmp_path / "anew", options)
    assert {path.name: path.read_bytes() for path in states.glob("*.states")} == made
    assert same(first, memory)
    assert same(first, anew)


@pytest.mark.slow
def test_another_teacher_has_outputs_of_its_own(
    options: dict[str, Any], finished: Callable[[str], Path], states: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(finished("Full"), tmp_path / "teacher")
    best = torch.load(other / BEST, weights_only=True)
    best["state_dict"]["model.classifier.bias"][0] += 1
    torch.save(best, other / BEST)
    for i, (teacher, files) in enumerate(((options["model__teacher"], 1), (other, 2), (options["model__teacher"], 2))):
        train(tmp_path / f"run{i}", {**options, "model__teacher": teacher}, seed_everything=i, trainer__max_epochs=1)
        assert len(list(states.glob("*.states"))) == files  # another seed reads what is there


def test_a_full_disk_changes_nothing_but_a_line(
    options: dict[str, Any], states: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", options)
    shutil.rmtree(states)
    states.mkdir()
    monkeypatch.setattr(folder, "SPARE", 2**60)
    capsys.readouterr()
    assert same(train(tmp_path / "run", options), whole)
    said = capsys.readouterr().out
    assert said.count("the outputs of the teacher on train are kept in memory: the stored values would take") == 1
    assert not list(states.glob("*.states"))


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_bits_without_its_store(
    options: dict[str, Any], states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, copies, given = tmp_path / "run", tmp_path / "copies", {**options, "test_after_fit": "true"}
    with pytest.MonkeyPatch.context() as patch:
        keep_snapshots(patch, run, copies)
        fitted(run, "TextClassification", **given, save_every_n_steps=5)
    whole = final_state(run)
    shutil.rmtree(run)
    shutil.rmtree(states)
    states.mkdir()
    shutil.copytree(sorted(copies.iterdir())[0], run)
    monkeypatch.setattr(folder, "SPARE", 2**60)
    main(["fit", "--resume", "--run_dir", str(run)])
    assert differences(whole, final_state(run)) == []


def test_a_run_of_less_than_an_epoch_asks_its_teacher_batch_by_batch(
    options: dict[str, Any], states: Path, tmp_path: Path
) -> None:
    train(tmp_path / "run", options, trainer__max_steps=STEPS - 1)
    assert not list(states.glob("*.states"))
    assert not torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["teacher_cache"]["once"]


def test_outputs_above_the_limit_are_computed_in_each_batch(
    options: dict[str, Any], states: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "run", options, data__cache_limit="1e-9")
    assert "the teacher computes its outputs in each batch: the stored values would take" in capsys.readouterr().out
    assert not list(states.glob("*.states"))
    given = {**options, "data__cache_limit": "1e-9", "model__teacher_cache": "true"}
    run = tmp_path / "refused"
    said = refusal(arguments("fit", "TextClassification", "TextClassificationData", run_dir=run, **given), capsys)
    assert "model.teacher_cache is true, but the stored values would take" in said
    assert not (run / "run.json").exists()


# What is not stored


class Shuffling(TextClassificationData):
    """Data whose texts change in each epoch."""

    def collate(self, columns: dict[str, list[Any]], batch: Any = None) -> dict[str, Any]:
        made = super().collate(columns, batch)
        return {**made, "input_ids": made["input_ids"].roll(batch.epoch or 0, dims=1)}


def test_reasons_against_storing(tiny: Callable[[str], str], sentiment: str, tmp_path: Path) -> None:
    backbone = tiny("bert")
    data = Shuffling(dataset=sentiment, backbone=backbone)
    data.setup("fit")
    student = classifier(backbone)
    student.__dict__["teacher"] = Teacher(classifier(backbone), "here")
    passes = Passes(student, data, quiet_trainer())
    with pytest.raises(UserError, match=r"model\.teacher_cache is true, but the data change the texts in each epoch; set it"):
        computed_once(True, passes)
    writer = CausalLM(backbone=chat_model(tmp_path / "llama"), pad_token_id=0)
    said = "is true, but the outputs of a teacher of CausalLM are not stored: they may have a number for each token of the"
    with pytest.raises(UserError, match=said):
        computed_once(True, Passes(writer, data, quiet_trainer()))


def test_a_task_whose_outputs_are_no_rows_is_not_stored(tiny: Callable[[str], str], sentiment: str) -> None:
    class Summed(TextClassification):
        def lessons(self, batch: dict[str, Any]) -> Tensor:
            return super().lessons(batch).sum(1)

    data = TextClassificationData(dataset=sentiment, backbone=tiny("bert"))
    data.setup("fit")
    student, teacher = (Summed(backbone=tiny("bert"), **data.task_arguments()) for _ in range(2))
    student.__dict__["teacher"] = Teacher(teacher, "here")
    assert (
        reason_against(Passes(student, data, quiet_trainer()))
        == "the outputs of a teacher of Summed are no rows for each example"
    )


def test_a_cache_needs_a_teacher(tiny: Callable[[str], str]) -> None:
    with pytest.raises(UserError, match=r"model\.teacher_cache is true, but there is no model\.teacher; leave it out"):
        classifier(tiny("bert"), teacher_cache=True)

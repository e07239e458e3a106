"""Question answering and multiple choice that learn from a teacher: the loss by hand, padding, and what does not fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from ftlit.data import MultipleChoiceData
from ftlit.errors import UserError
from ftlit.losses import Distillation
from ftlit.tasks import MultipleChoice, QuestionAnswering, TaskModule
from ftlit.tasks.shared.teacher import Teacher
from tests.support.data import choice_splits, write_splits
from tests.support.questions import question_splits
from tests.support.runs import fitted
from tests.support.small import LENGTHS, ragged_batch, without_dropout

Tiny = Callable[[str], str]
LEARNING = Distillation(temperature=3.0, alpha=0.3)
COUNTS = (3, 1, 4)  # choices of each row


@pytest.fixture(scope="module")
def bert(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    return without_dropout(tiny("bert"), tmp_path_factory.mktemp("model") / "bert")


def both(kind: type[TaskModule], bert: str, loss: Distillation = LEARNING) -> tuple[Any, Any]:
    """A student and a teacher with other weights in the head."""
    torch.manual_seed(0)
    return kind(backbone=bert, pad_token_id=0, loss=loss), kind(backbone=bert, pad_token_id=0)


def taught(student: TaskModule, teacher: TaskModule, batch: dict[str, Any]) -> Tensor:
    student.__dict__["teacher"] = Teacher(teacher, "here")
    return student.batch_losses(batch)


def example(ours: Tensor, theirs: Tensor, label: int) -> Tensor:
    """The loss of one choice between logits ``(choices,)`` of both models, from the definition."""
    p, q = (functional.softmax(logits / 3.0, -1) for logits in (theirs, ours))
    hard = functional.cross_entropy(ours[None], torch.tensor([label]))
    return 0.3 * 9 * (p * (p.log() - q.log())).sum() + 0.7 * hard


def windows() -> dict[str, Any]:
    """Four windows of 3 to 11 tokens, one of which lacks its answer."""
    return {**ragged_batch(), "labels": torch.tensor([[1, 2], [4, 4], [0, 0], [2, 7]])}


def choices() -> dict[str, Any]:
    """Three rows with 3, 1 and 4 choices."""
    parts = ragged_batch(), ragged_batch(seed=1)
    inputs = {name: torch.cat([part[name] for part in parts]) for name in ("input_ids", "attention_mask")}
    metadata = {"choices": [["text"] * count for count in COUNTS]}
    return {**inputs, "labels": torch.tensor([2, 0, 1]), "metadata": metadata, "loss_denominator": 3.0}


BATCHES = {QuestionAnswering: windows, MultipleChoice: choices}


def test_an_answer_is_learned_as_two_distributions_over_the_tokens_of_its_window(bert: str) -> None:
    student, teacher = both(QuestionAnswering, bert)
    batch = windows()
    with torch.no_grad():
        ours, theirs = (task.logits(batch) for task in (student, teacher))
    expected = [
        torch.stack([example(ours[i, :n, k], theirs[i, :n, k], int(batch["labels"][i, k])) for k in (0, 1)]).mean()
        for i, n in enumerate(LENGTHS)
    ]
    torch.testing.assert_close(taught(student, teacher, batch), torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_a_choice_is_learned_as_a_distribution_over_the_choices_of_its_row(bert: str) -> None:
    student, teacher = both(MultipleChoice, bert)
    batch = choices()
    with torch.no_grad():
        ours, theirs = (task.model(**{n: batch[n] for n in ("input_ids", "attention_mask")}).logits.squeeze(1).split(COUNTS)
                        for task in (student, teacher))  # fmt: skip
    expected = [example(*row) for row in zip(ours, theirs, batch["labels"].tolist(), strict=True)]
    torch.testing.assert_close(taught(student, teacher, batch), torch.stack(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("temperature", [0.5, 2.0, 1000.0])
def test_nothing_is_learned_from_a_teacher_that_knows_the_same(kind: type[TaskModule], temperature: float, bert: str) -> None:
    student, _ = both(kind, bert, Distillation(temperature, alpha=1.0))
    teacher = kind(backbone=bert, pad_token_id=0)
    teacher.load_state_dict(student.state_dict())
    losses = taught(student, teacher, BATCHES[kind]())
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([0.0] * len(losses), abs=1e-5)
    gradients = [weight.grad.abs().max() for weight in student.parameters() if weight.grad is not None]
    assert gradients
    assert max(gradients) < 1e-4 * temperature


@pytest.mark.parametrize("kind", BATCHES)
def test_padding_changes_nothing(kind: type[TaskModule], bert: str) -> None:
    student, teacher = both(kind, bert)
    batch = BATCHES[kind]()
    longer = {name: functional.pad(batch[name], (0, 5)) for name in ("input_ids", "attention_mask")}
    found, expected = taught(student, teacher, {**batch, **longer}), taught(student, teacher, batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(found.sum(), list(student.parameters())[:3]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["QuestionAnswering", "MultipleChoice"])
def test_a_run_teaches_another(kind: str, bert: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    data = question_splits(folder) if kind == "QuestionAnswering" else write_splits(folder, choice_splits())
    stride = {"data__stride": 16} if kind == "QuestionAnswering" else {}
    short = {"data__limit_train": 16, "data__limit_validation": 8, "model__backbone": bert, "data__dataset": data, **stride}
    teacher = fitted(tmp_path / "teacher", kind, **short)
    loss = {"model__loss": "Distillation", "model__keep_layers": "[1]", "model__teacher": teacher}
    run = fitted(tmp_path / "student", kind, trainer__max_epochs=2, **short, **loss)
    assert json.loads((run / "run.json").read_text())["teacher"]["folder"] == str(teacher)


def test_each_choice_is_a_text_that_the_teacher_reads(bert: str, tmp_path: Path) -> None:
    data = MultipleChoiceData(dataset=write_splits(tmp_path / "data", choice_splits()), backbone=bert)
    data.setup("fit")
    assert data.longest_text() == max(len(text) for texts in data.encoded["train"]["input_ids"] for text in texts)
    assert data.longest_text() * 2 <= data.lengths("train").max()


def test_a_teacher_knows_questions_without_an_answer_if_the_data_have_them(bert: str, tmp_path: Path) -> None:
    names = {"_class_path": "ftlit.tasks.QuestionAnswering", "backbone": bert, "no_answer": False}
    data = {"_class_path": "ftlit.data.QuestionAnsweringData"}
    save_file({"task.tuned_threshold": torch.zeros((), dtype=torch.float64)}, tmp_path / "head.safetensors")
    (tmp_path / "ftlit.json").write_text(json.dumps({"kind": "model", "task": names, "data": data}))
    student = QuestionAnswering(backbone=bert, pad_token_id=0, loss=LEARNING, teacher=str(tmp_path))
    assert student.teacher
    student = QuestionAnswering(backbone=bert, pad_token_id=0, loss=LEARNING, teacher=str(tmp_path), no_answer=True)
    with pytest.raises(UserError, match=r"was trained on questions that all have an answer, and some of the data have none"):
        student.teacher  # noqa: B018

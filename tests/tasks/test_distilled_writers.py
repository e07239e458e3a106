"""Language models and sequence-to-sequence models that learn each token's distribution from a teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from ftlit.errors import UserError
from ftlit.losses import Distillation
from ftlit.tasks import CausalLM, MaskedLM, Seq2Seq, TaskModule
from ftlit.tasks.shared.teacher import Teacher
from ftlit.util.batch import IGNORED
from tests.support.chats import chat_model
from tests.support.small import ragged_batch, without_dropout

Tiny = Callable[[str], str]
LEARNING = Distillation(temperature=3.0, alpha=0.3)


def again(folder: str, to: Path, auto: Any, **changes: Any) -> str:
    """A model of the same configuration but for some changes, with other weights, and with the same tokenizer."""
    without_dropout(folder, to)
    torch.manual_seed(5)
    auto.from_config(AutoConfig.from_pretrained(to, **changes)).save_pretrained(to)
    return str(to)


def expected(ours: Tensor, theirs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each example from all logits ``(batch, tokens, vocabulary)`` and targets, one token after the other."""
    found = torch.zeros(len(targets))
    for i, j in (targets != IGNORED).nonzero().tolist():
        p, q = (functional.softmax(logits[i, j] / 3.0, -1) for logits in (theirs, ours))
        hard = functional.cross_entropy(ours[i, j][None], targets[i, j][None])
        found[i] += 0.3 * 9 * (p * (p.log() - q.log())).sum() + 0.7 * hard
    return found


def taught(student: TaskModule, teacher: TaskModule, batch: dict[str, Any]) -> Tensor:
    student.__dict__["teacher"] = Teacher(teacher, "here")
    return student.batch_losses(batch)


def text_batch() -> dict[str, Any]:
    batch = ragged_batch()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
    labels[1, :4] = IGNORED  # a prompt
    return {**batch, "labels": labels, "loss_weights": torch.ones(4), "loss_denominator": 4.0}


@pytest.mark.parametrize("padded", [270, 288])
def test_a_causal_student_learns_each_target(padded: int, tmp_path: Path) -> None:
    """The teacher's table may be padded to another size, and be wider and deeper."""
    small, large = chat_model(tmp_path / "small"), tmp_path / "large"
    again(small, large, AutoModelForCausalLM, vocab_size=padded, num_hidden_layers=3)
    student = CausalLM(backbone=small, pad_token_id=0, loss=LEARNING)
    teacher = CausalLM(backbone=str(large), pad_token_id=0)
    batch = text_batch()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        ours, theirs = (task.model(**inputs).logits[..., :270] for task in (student, teacher))
    targets = functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    torch.testing.assert_close(taught(student, teacher, batch), expected(ours, theirs, targets), atol=1e-4, rtol=1e-4)


def test_a_sequence_to_sequence_student_learns_each_target(tiny_seq2seq: Tiny, tmp_path: Path) -> None:
    small = without_dropout(tiny_seq2seq("bart"), tmp_path / "small")
    large = again(small, tmp_path / "large", AutoModelForSeq2SeqLM)
    student, teacher = Seq2Seq(backbone=small, pad_token_id=0, loss=LEARNING), Seq2Seq(backbone=large, pad_token_id=0)
    batch = {**text_batch(), "labels": text_batch()["labels"].flip(0)[:, 1:]}
    batch["labels"][1, :4] = torch.tensor([5, 6, 7, 8])
    with torch.no_grad():
        ours, theirs = (task.logits(batch) for task in (student, teacher))
    torch.testing.assert_close(taught(student, teacher, batch), expected(ours, theirs, batch["labels"]), atol=1e-4, rtol=1e-4)


def test_a_masked_student_learns_the_masked_tokens(tiny: Tiny, tmp_path: Path) -> None:
    folder = without_dropout(tiny("bert"), tmp_path / "bert")
    student, teacher = (MaskedLM(backbone=folder, pad_token_id=0, pretrained=False, loss=loss) for loss in (LEARNING, None))
    batch = text_batch()
    batch["labels"] = batch["labels"].masked_fill(batch["input_ids"] % 3 > 0, IGNORED)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        ours, theirs = (task.model(**inputs).logits for task in (student, teacher))
    torch.testing.assert_close(taught(student, teacher, batch), expected(ours, theirs, batch["labels"]), atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match=r"model\.loss Distillation does not fit MaskedLM; use another loss"):
        MaskedLM(backbone=folder, pad_token_id=0, pretrained=False, next_sentence=True, loss=LEARNING)

"""Multiple choice against transformers' own model, questions with different numbers of choices, and the command line."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertForMultipleChoice

import ftlit
from ftlit.__main__ import main
from ftlit.data import MultipleChoiceData
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.losses import CrossEntropy, Focal
from ftlit.tasks import MultipleChoice
from tests.support.command_line import arguments
from tests.support.data import choice_rows

Tiny = Callable[[str], str]
COUNTS = [2, 4, 3, 4]
LABELS = torch.tensor([1, 3, 0, 0])


def module(tiny: Tiny, **options: Any) -> MultipleChoice:
    torch.manual_seed(0)
    return MultipleChoice(backbone=tiny("bert"), pad_token_id=0, **options)


def batch(counts: list[int] = COUNTS) -> dict[str, Any]:
    """Choices of random words and lengths, one under the other."""
    generator = torch.Generator().manual_seed(0)
    total = sum(counts)
    lengths = torch.randint(3, 12, (total,), generator=generator)
    mask = (torch.arange(12) < lengths[:, None]).long()
    ids = torch.randint(4, 100, (total, 12), generator=generator) * mask
    choices = [[f"choice {i}" for i in range(count)] for count in counts]
    given = {"input_ids": ids, "attention_mask": mask, "labels": LABELS, "metadata": {"choices": choices}}
    return {**given, "loss_denominator": float(len(counts))}


def scored(task: MultipleChoice, given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    task.eval()
    with torch.no_grad():
        logits = task.logits(given)
        return logits, task.losses(logits, given)


def test_equal_numbers_of_choices_give_what_transformers_gives(tiny: Tiny) -> None:
    task, given = module(tiny), batch([4, 4, 4, 4])
    reference = BertForMultipleChoice(task.model.config).eval()
    reference.load_state_dict(task.model.state_dict())
    inputs = {name: given[name].view(4, 4, 12) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = reference(**inputs, labels=LABELS)
    logits, losses = scored(task, given)
    torch.testing.assert_close(logits, expected.logits)
    torch.testing.assert_close(losses.mean(), expected.loss)
    torch.testing.assert_close(task.training_step(given, 0), expected.loss)


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(label_smoothing=0.3), Focal()], ids=str)
def test_a_row_competes_with_itself_alone(loss: Any, tiny: Tiny) -> None:
    task, given = module(tiny, loss=loss), batch()
    logits, losses = scored(task, given)
    assert logits.shape == (4, 4)
    assert torch.isinf(logits).tolist() == [[i >= count for i in range(4)] for count in COUNTS]
    start = 0
    for i, count in enumerate(COUNTS):
        part = {name: given[name][start : start + count] for name in ("input_ids", "attention_mask")}
        alone, alone_loss = scored(task, {**part, "labels": LABELS[i : i + 1], "metadata": {"choices": [["x"] * count]}})
        torch.testing.assert_close(alone[0], logits[i, :count])
        torch.testing.assert_close(alone_loss[0], losses[i])
        start += count


def test_label_smoothing_spreads_over_the_rows_own_choices(tiny: Tiny) -> None:
    task = module(tiny, loss=CrossEntropy(label_smoothing=0.5))
    scores = [torch.tensor([1.0, -1.0]), torch.tensor([0.5, 2.0, 0.0, 1.0]), torch.zeros(3), torch.ones(4)]
    logits = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True, padding_value=float("-inf")).requires_grad_()
    losses = task.losses(logits, batch())
    smooth = [0.5 * functional.one_hot(label, len(s)) + 0.5 / len(s) for s, label in zip(scores, LABELS, strict=True)]
    expected = [-(target * s.log_softmax(0)).sum() for s, target in zip(scores, smooth, strict=True)]
    torch.testing.assert_close(losses, torch.stack(expected))
    losses.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_scores_of_half_precision(tiny: Tiny) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = module(tiny).training_step(batch(), 0)
    assert (loss.dtype, bool(torch.isfinite(loss))) == (torch.float32, True)


def test_decoding_and_accuracy(tiny: Tiny) -> None:
    task, given = module(tiny), batch()
    infinity = float("inf")
    rows = [[0.0, 1.0, -infinity, -infinity], [0.0, 0.0, 3.0, 0.0], [2.0, 1.0, 0.0, -infinity], [1.0, 0.0, 0.0, 0.0]]
    logits = torch.tensor(rows)
    found = task.decode(logits, given)
    assert [(row["prediction"], row["index"]) for row in found if row] == [("choice 1", 1), ("choice 2", 2)] + [
        ("choice 0", 0)
    ] * 2
    assert [len(row["scores"]) for row in found if row] == COUNTS
    assert all(sum(row["scores"]) == pytest.approx(1) and row["score"] == max(row["scores"]) for row in found if row)
    task.logits = lambda batch: logits  # type: ignore[method-assign]
    task.evaluators["val"].update(task, {**given, "loss_denominator": 1.0})
    assert float(task.evaluators["val"].metrics.compute()["accuracy"]) == 0.75
    assert (task.monitor, task.mode) == ("val/accuracy", "max")


def test_pooled_heads_score_choices(tiny: Tiny) -> None:
    task = module(tiny, head=PooledHead(pooling="mean"))
    assert scored(task, batch())[0].shape == (4, 4)
    task.training_step(batch(), 0).backward()
    assert [name for name, weight in task.named_parameters() if weight.grad is None] == []


def test_class_weights_are_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"model\.loss\.class_weights weighs the labels of a list, and MultipleChoice has none"):
        module(tiny, loss=CrossEntropy(class_weights=[1.0, 2.0]))


def test_padding_of_a_batch_does_not_change_a_row(tiny: Tiny, questions: str) -> None:
    data, task = MultipleChoiceData(dataset=questions, backbone=tiny("bert")), module(tiny)
    data.setup()
    rows = data.encoded["train"][:6]
    together = scored(task, data.collate(rows))[1]
    for i in range(6):
        alone = scored(task, data.collate({name: values[i : i + 1] for name, values in rows.items()}))[1]
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)


def test_fit_validate_and_predict_agree(tiny: Tiny, questions: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    run = tmp_path / "run"
    given = {"run_dir": run, "model__backbone": tiny("bert"), "data__dataset": questions, "test_after_fit": "true"}
    budget = {"data__batching": "TokenBudget", "data__batching__max_tokens": 512}
    args = [arg for arg in arguments("fit", "MultipleChoice", "MultipleChoiceData", **given) if "batch_size" not in arg]
    main([arg for arg in args if "data.batching" not in arg] + [f"--{k.replace('__', '.')}={v}" for k, v in budget.items()])
    lines = [json.loads(line) for line in (run / "predictions/test.jsonl").read_text().splitlines()]
    rows = choice_rows(30, 2)
    found = ftlit.load(run)(rows, scores=True)
    for line, row, prediction in zip(lines, rows, found, strict=True):
        assert line["label"] == row["choices"][row["label"]]
        assert line["prediction"] == row["choices"][line["index"]] == prediction["prediction"]
        assert line["scores"] == pytest.approx(prediction["scores"], abs=1e-5)
    right = sum(line["prediction"] == line["label"] for line in lines) / len(lines)
    assert json.loads((run / "results.json").read_text())["test"]["accuracy"] == pytest.approx(right)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.csv"
    main(["predict", "--run", str(run), "--input", str(tmp_path / "in.jsonl"), "--output", str(out), "--scores", "true"])
    table = list(csv.DictReader(out.open()))
    assert list(table[0]) == ["id", "prediction", "index", "score", "scores", "truncated"]
    for row, prediction in zip(table, found, strict=True):
        assert json.loads(row["scores"]) == pytest.approx(prediction["scores"], abs=1e-5)

"""A student learns from its teacher: the loss against references by hand, the teacher untouched, and what does not fit."""

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModel

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.losses import CrossEntropy, Distillation
from ftlit.runs.files import BEST
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import read_study
from ftlit.tasks import TaskModule, TextClassification, TextRegression, TokenClassification
from ftlit.tasks.shared.teacher import Teacher
from ftlit.util.settings import value_at
from tests.support.command_line import arguments, refusal
from tests.support.models import tiny_tokenizer
from tests.support.resuming import differences, final_state, keep_snapshots
from tests.support.runs import fitted
from tests.support.small import classifier, ragged_batch, saved, without_dropout
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]
TEMPERATURE, ALPHA = 3.0, 0.3
LEARNING = Distillation(temperature=TEMPERATURE, alpha=ALPHA)


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture(scope="module")
def bert(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    return without_dropout(tiny("bert"), tmp_path_factory.mktemp("model") / "bert")


def divergence(ours: list[float], theirs: list[float]) -> float:
    """``T ** 2 * KL(teacher, student)``, from the definition."""
    p, q = ([math.exp(x / TEMPERATURE) for x in row] for row in (theirs, ours))
    p, q = ([x / sum(row) for x in row] for row in (p, q))
    return TEMPERATURE**2 * sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def taught(student: TaskModule, teacher: TaskModule, batch: dict[str, Any]) -> Tensor:
    """The loss of each example, with a teacher that was built here."""
    student.__dict__["teacher"] = Teacher(teacher, "here")
    return student.batch_losses(batch)


def outputs(task: TaskModule, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return task.logits(batch)


def student_of(teacher: str, bert: str, **options: Any) -> Teacher:
    return classifier(bert, loss=LEARNING, teacher=teacher, **options).teacher


# The loss


def test_the_divergence_is_that_of_hinton() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(7, 4) * 3, torch.randn(7, 4) * 3
    expected = [divergence(one, other) for one, other in zip(ours.tolist(), theirs.tolist(), strict=True)]
    assert LEARNING(ours, theirs).tolist() == pytest.approx(expected, abs=1e-4)
    assert LEARNING(ours, ours).tolist() == pytest.approx([0] * 7, abs=1e-6)
    torch.testing.assert_close(LEARNING(ours + 5, theirs - 2), LEARNING(ours, theirs))


def test_the_gradient_keeps_its_size_at_any_temperature() -> None:
    """At high temperatures it approaches that of half the squared difference of centred logits, divided by the classes."""
    torch.manual_seed(0)
    ours, theirs = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    (found,) = torch.autograd.grad(Distillation(temperature=1e3)(ours, theirs).sum(), ours)
    centred = (ours - ours.mean(1, keepdim=True)) - (theirs - theirs.mean(1, keepdim=True))
    torch.testing.assert_close(found, centred.detach() / 3, atol=2e-3, rtol=1e-2)


def test_a_classifier_learns_both_from_labels_and_from_its_teacher(bert: str) -> None:
    student, teacher, batch = classifier(bert, loss=LEARNING), classifier(bert, seed=1), ragged_batch()
    ours, theirs = outputs(student, batch), outputs(teacher, batch)
    soft = torch.tensor([divergence(one, other) for one, other in zip(ours.tolist(), theirs.tolist(), strict=True)])
    hard = functional.cross_entropy(ours, batch["labels"], reduction="none")
    torch.testing.assert_close(taught(student, teacher, batch), ALPHA * soft + (1 - ALPHA) * hard, atol=1e-5, rtol=1e-4)


def test_class_weights_and_smoothing_belong_to_the_loss_on_the_labels(bert: str) -> None:
    own = CrossEntropy(label_smoothing=0.1, class_weights=[1.0, 3.0])
    student = classifier(bert, loss=Distillation(TEMPERATURE, ALPHA, own))
    teacher, batch = classifier(bert, seed=1), ragged_batch()
    assert student.loss == own
    ours = outputs(student, batch)
    weights = torch.tensor([1.0, 3.0])[batch["labels"]]
    hard = functional.cross_entropy(ours, batch["labels"], reduction="none", label_smoothing=0.1) * weights
    soft = LEARNING(ours, outputs(teacher, batch))
    torch.testing.assert_close(taught(student, teacher, batch), ALPHA * soft + (1 - ALPHA) * hard)


def test_each_of_several_labels_is_learned_by_itself(bert: str) -> None:
    names = {"label_names": ["a", "b", "c"], "multi_label": True, "backbone": bert, "pad_token_id": 0}
    student, teacher = TextClassification(**names, loss=LEARNING), TextClassification(**names)
    batch = {**ragged_batch(), "labels": torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])}
    ours, theirs = outputs(student, batch), outputs(teacher, batch)
    both = [zip(one, other, strict=True) for one, other in zip(ours.tolist(), theirs.tolist(), strict=True)]
    soft = torch.tensor([sum(divergence([a, 0.0], [b, 0.0]) for a, b in row) / 3 for row in both])
    hard = functional.binary_cross_entropy_with_logits(ours, batch["labels"].float(), reduction="none").mean(1)
    torch.testing.assert_close(taught(student, teacher, batch), ALPHA * soft + (1 - ALPHA) * hard, atol=1e-5, rtol=1e-4)


def test_a_regression_learns_numbers_whatever_their_units_were_trained_as(bert: str) -> None:
    student = TextRegression(backbone=bert, pad_token_id=0, label_scale=[2.0, 0.5], loss=LEARNING)
    teacher = TextRegression(backbone=bert, pad_token_id=0, label_scale=[10.0, 4.0])
    batch = {**ragged_batch(), "labels": torch.tensor([1.0, 2.5, 2.0, 3.0])}
    ours, theirs = outputs(student, batch).squeeze(1), outputs(teacher, batch).squeeze(1) * 4 + 10
    soft, hard = ((ours - (numbers - 2) / 0.5) ** 2 for numbers in (theirs, batch["labels"]))
    torch.testing.assert_close(taught(student, teacher, batch), ALPHA * soft + (1 - ALPHA) * hard, atol=1e-4, rtol=1e-5)


def tagger(bert: str, **options: Any) -> TokenClassification:
    return TokenClassification(label_names=["O", "B-X", "I-X"], backbone=bert, pad_token_id=0, **options)


def tagged_batch() -> dict[str, Any]:
    batch = ragged_batch()
    labels = (batch["input_ids"] % 3).masked_fill(batch["attention_mask"] == 0, -100)
    labels[:, 0], labels[1, 3:6] = -100, -100  # special tokens, and pieces inside of words
    counts = (labels != -100).sum(1)
    return {**batch, "labels": labels, "loss_weights": counts.float(), "loss_denominator": float(counts.sum())}


def test_only_labelled_tokens_are_learned(bert: str) -> None:
    student, teacher, batch = tagger(bert, loss=LEARNING), tagger(bert), tagged_batch()
    ours, theirs, labels = outputs(student, batch), outputs(teacher, batch), batch["labels"]
    expected = torch.zeros(4)
    for i, j in (labels != -100).nonzero().tolist():
        hard = functional.cross_entropy(ours[i, j][None], labels[i, j][None])
        expected[i] += ALPHA * divergence(ours[i, j].tolist(), theirs[i, j].tolist()) + (1 - ALPHA) * hard
    torch.testing.assert_close(taught(student, teacher, batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_the_loss_is_the_same_however_a_batch_is_split(kind: str, bert: str) -> None:
    if kind == "tokens":
        student, teacher, batch = tagger(bert, loss=LEARNING), tagger(bert), tagged_batch()
    else:
        student, teacher, batch = classifier(bert, loss=LEARNING), classifier(bert, seed=1), ragged_batch()
    student.__dict__["teacher"] = Teacher(teacher, "here")
    whole = student.training_step(batch, 0)
    parts = [{k: v[i : i + 2] if isinstance(v, Tensor) else v for k, v in batch.items()} for i in (0, 2)]
    torch.testing.assert_close(sum(student.training_step(part, 0) for part in parts), whole)


def test_evaluations_report_the_loss_on_the_labels_and_need_no_teacher(bert: str) -> None:
    student, plain, batch = classifier(bert, loss=LEARNING, teacher="gone"), classifier(bert), ragged_batch()
    with torch.no_grad():
        assert torch.equal(student.evaluate_batch(batch).losses, plain.evaluate_batch(batch).losses)


def test_without_a_share_of_the_teacher_it_is_the_plain_loss(bert: str) -> None:
    student, batch = classifier(bert, loss=Distillation(alpha=0)), ragged_batch()
    assert torch.equal(taught(student, classifier(bert, seed=1), batch), classifier(bert).batch_losses(batch))


# The teacher


def test_a_teacher_is_no_part_of_its_student(tiny: Tiny, bert: str) -> None:
    dropping = tiny("bert")  # with dropout
    student, teacher, batch = classifier(bert, loss=LEARNING), classifier(dropping, seed=1), ragged_batch()
    names, before = {*student.state_dict()}, {name: weight.clone() for name, weight in teacher.state_dict().items()}
    one, two = taught(student, teacher, batch), taught(student, teacher, batch)
    assert torch.equal(one, two)
    student.train()
    one.sum().backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert not teacher.training
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())
    assert {*student.state_dict()} == names == {*classifier(bert).state_dict()}
    assert saved(student)["teacher"] == student.teacher.digest
    assert saved(student)["state_dict"].keys() == saved(classifier(bert))["state_dict"].keys()


def test_the_digest_tells_teachers_apart(bert: str) -> None:
    one, same, other = (Teacher(classifier(bert, seed=seed), "") for seed in (0, 0, 1))
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize("method", some_by_default(["Full", "LoRA", "PTuning"], {0}))
def test_a_run_teaches_what_it_predicts(method: str, finished: Callable[[str], Path], bert: str) -> None:
    run = finished(method)
    student = classifier(bert, loss=LEARNING, teacher=str(run))
    state = torch.get_rng_state()
    lessons = student.teacher.lessons({**ragged_batch(), "token_type_ids": torch.zeros(4, 11).long()})
    assert torch.equal(torch.get_rng_state(), state)
    model = ftlit.load(run).model
    batch = {**ragged_batch(), "token_type_ids": torch.zeros(4, 11).long()}
    with torch.no_grad():
        torch.testing.assert_close(lessons, model.logits(batch))


@pytest.mark.parametrize(("method", "adapter"), some_by_default([("Full", False), ("LoRA", True)], {0}))
def test_an_export_teaches_like_its_run(
    method: str, adapter: bool, finished: Callable[[str], Path], bert: str, tmp_path: Path, in_process: None
) -> None:
    run, folder = finished(method), tmp_path / "export"
    ftlit.export(str(run), str(folder), adapter_only=adapter)
    batch = {**ragged_batch(), "token_type_ids": torch.zeros(4, 11).long()}
    found, expected = (student_of(str(source), bert).lessons(batch) for source in (folder, run))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_token_types_reach_teachers_that_read_them_alone(tiny: Tiny, bert: str) -> None:
    batch = {**ragged_batch(), "token_type_ids": torch.zeros(4, 11).long()}
    teacher = Teacher(classifier(tiny("distilbert")), "here")
    assert not teacher.reads_types
    assert torch.equal(teacher.lessons(batch), teacher.lessons(ragged_batch()))
    reading = Teacher(classifier(bert), "runs/x")
    reading.check_inputs(20, pairs=True, types=True)
    reading.check_inputs(20, pairs=False, types=False)
    with pytest.raises(UserError, match=r"runs/x' tells the texts of a pair by token types, which the tokenizer of"):
        reading.check_inputs(20, pairs=True, types=False)
    with pytest.raises(UserError, match=r"reads at most 64 tokens, and the data have 65; set data\.max_length"):
        reading.check_inputs(65, pairs=False, types=True)


# Runs


LOSS = {"model__loss": "Distillation", "model__loss__temperature": 3, "model__loss__alpha": 0.7}


@pytest.fixture
def options(finished: Callable[[str], Path], tiny: Tiny, sentiment: str) -> dict[str, Any]:
    student = {"model__backbone": tiny("bert"), "model__keep_layers": "[1]", "model__teacher": finished("Full")}
    return {**student, **LOSS, "data__dataset": sentiment, "test_after_fit": "true"}


def test_a_student_trains_is_recorded_and_opens_without_its_teacher(
    options: dict[str, Any], finished: Callable[[str], Path], tmp_path: Path, in_process: None
) -> None:
    teacher = shutil.copytree(finished("Full"), tmp_path / "teacher")
    run = fitted(tmp_path / "run", "TextClassification", **{**options, "model__teacher": teacher})
    record = json.loads((run / "run.json").read_text())["teacher"]
    assert record["folder"] == str(teacher)
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["teacher"] == record["digest"]
    shutil.rmtree(teacher)
    expected = ftlit.load(run)(["word1 good"], scores=True)
    ftlit.export(str(run), str(tmp_path / "export"))
    assert json.loads((tmp_path / "export/ftlit.json").read_text())["task"]["teacher"] is None
    assert ftlit.load(tmp_path / "export")(["word1 good"], scores=True)[0]["prediction"] == expected[0]["prediction"]


def test_a_killed_student_goes_on_bit_for_bit_with_its_teacher_alone(
    options: dict[str, Any], finished: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, run, copies = shutil.copytree(finished("Full"), tmp_path / "teacher"), tmp_path / "run", tmp_path / "copies"
    given = {**options, "model__teacher": teacher, "save_every_n_steps": 4}
    with pytest.MonkeyPatch.context() as patch:
        keep_snapshots(patch, run, copies)
        fitted(run, "TextClassification", **given)
    whole = final_state(run)
    shutil.rmtree(run)
    early = sorted(copies.iterdir())[0]
    shutil.copytree(early, run)
    main(["fit", "--resume", "--run_dir", str(run)])
    assert differences(whole, final_state(run)) == []
    shutil.rmtree(run)
    shutil.copytree(early, run)
    best = torch.load(teacher / BEST, weights_only=True)
    best["state_dict"]["model.classifier.bias"] += 1
    torch.save(best, teacher / BEST)
    said = refusal(["fit", "--resume", "--run_dir", str(run)], capsys)
    assert "has other weights than when it began; put them back, or start another --run_dir" in said


# What does not fit


@pytest.fixture(scope="module")
def folder_of(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A folder of an export, as small as it can be: a model with a task that it was trained for."""

    def make(task: type[TaskModule], backbone: str, **arguments: Any) -> str:
        folder = tmp_path_factory.mktemp("teacher")
        names = {"_class_path": f"{task.__module__}.{task.__qualname__}", "backbone": backbone, **arguments}
        data = {"_class_path": "ftlit.data.TextClassificationData"}
        (folder / "ftlit.json").write_text(json.dumps({"kind": "model", "task": names, "data": data}))
        return str(folder)

    return make


def test_what_a_teacher_must_have_in_common(folder_of: Callable[..., str], bert: str, tiny: Tiny, tmp_path: Path) -> None:
    names = {"label_names": ["bad", "good"]}
    assert student_of(folder_of(TextClassification, bert, **names), bert)
    with pytest.raises(UserError, match=r"was trained for TextRegression, and this is TextClassification"):
        student_of(folder_of(TextRegression, bert), bert)
    with pytest.raises(UserError, match=r"knows the labels \['good', 'bad'\], but the data have \['bad', 'good'\]"):
        student_of(folder_of(TextClassification, bert, label_names=["good", "bad"]), bert)
    with pytest.raises(UserError, match=r"was trained with model\.multi_label True; set it to the same"):
        student_of(folder_of(TextClassification, bert, multi_label=True, **names), bert)
    other = shutil.copytree(bert, tmp_path / "other")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(other)
    AutoModel.from_config(AutoConfig.from_pretrained(bert, vocab_size=101)).save_pretrained(other)
    with pytest.raises(UserError, match=r"reads other tokens than model\.backbone .*: their tokenizers differ"):
        student_of(folder_of(TextClassification, str(other), **names), bert)


def test_a_student_is_not_deeper_than_its_teacher(folder_of: Callable[..., str], bert: str) -> None:
    small = folder_of(TextClassification, bert, label_names=["bad", "good"], keep_layers=[0])
    with pytest.raises(UserError, match=r"has 1 layers, and its student has 2; choose a smaller model\.backbone, or some of"):
        student_of(small, bert)
    assert student_of(small, bert, keep_layers=[1])


def test_folders_that_hold_no_teacher(bert: str, tmp_path: Path, finished: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=r"model\.teacher 'nowhere' holds neither a run nor an export"):
        student_of("nowhere", bert)
    run = shutil.copytree(finished("Full"), tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "running"}))
    with pytest.raises(UserError, match=r"is a run that has not finished: run\.json says running; finish it with --resume"):
        student_of(str(run), bert)


def test_loss_and_teacher_belong_together(bert: str) -> None:
    with pytest.raises(UserError, match=r"learns from a teacher: set model\.teacher to the folder of a run or an export"):
        classifier(bert, loss=LEARNING).teacher  # noqa: B018
    with pytest.raises(UserError, match=r"model\.teacher 'runs/x' teaches through the loss Distillation alone"):
        classifier(bert, teacher="runs/x")
    with pytest.raises(UserError, match=r"model\.loss Distillation does not fit TextClassification; use CrossEntropy or Focal"):
        classifier(bert, loss=Distillation(task_loss=LEARNING))
    for name, value in {"temperature": 0.0, "alpha": 1.5}.items():
        with pytest.raises(UserError, match=rf"loss\.{name} must be"):
            Distillation(**{name: value})


@pytest.mark.parametrize("change", [{"model__teacher": None}, {"model__teacher": "nowhere"}, {"model__loss": "MSE"}])
def test_what_does_not_fit_leaves_nothing(
    change: dict[str, Any], options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**options, **change} if "model__loss" not in change else {**options, "model__loss": "CrossEntropy"}
    given = {key: value for key, value in given.items() if not (change.get("model__loss") and key.startswith("model__loss__"))}
    said = refusal(arguments("fit", "TextClassification", "TextClassificationData", run_dir=tmp_path / "run", **given), capsys)
    assert "model.teacher" in said
    assert not (tmp_path / "run").exists()


# Texts without labels, and studies


def test_texts_without_labels_weigh_as_much_as_those_with_labels(bert: str) -> None:
    student, teacher = classifier(bert, loss=LEARNING), classifier(bert, seed=1)
    batch, texts = ragged_batch(), {k: v for k, v in ragged_batch(seed=3).items() if k != "labels"}
    soft = [LEARNING(outputs(student, part), outputs(teacher, part)) for part in (batch, texts)]
    hard = functional.cross_entropy(outputs(student, batch), batch["labels"], reduction="none")
    found = taught(student, teacher, {**batch, "unlabelled": texts})
    torch.testing.assert_close(found, ALPHA * (soft[0] + soft[1]) / 2 + (1 - ALPHA) * hard)


@pytest.mark.slow
def test_a_run_learns_from_texts_without_labels(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("word1 good\nbad word2\n")
    short = {"data__limit_train": 16, "data__limit_validation": 8, "test_after_fit": "false"}
    given = {**options, **short, "data__unlabelled": tmp_path / "texts.txt"}
    assert fitted(tmp_path / "run", "TextClassification", **given).joinpath("results.json").is_file()


def test_a_study_varies_the_temperature(tmp_path: Path) -> None:
    options = {"backbone": "tiny", "teacher": "runs/x", "loss": {"class_path": "Distillation", "init_args": {"alpha": 0.5}}}
    model = {"class_path": "TextClassification", "init_args": options}
    data = {"class_path": "TextClassificationData", "init_args": {"dataset": "rows.csv"}}
    study = {"base": {"model": model, "data": data}, "axes": {"model.loss.temperature": [1, 2, 4]}}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**study, "compare": {"metric": "accuracy", "baseline": "1"}}))
    plan = Plan(read_study(file))
    configs = [cell.config for arm in plan.arms for cell in plan.repetitions(arm, {})]
    assert [value_at(config, "model.loss.temperature") for config in configs] == [1, 2, 4]
    assert {value_at(config, "model.loss.alpha") for config in configs} == {0.5}

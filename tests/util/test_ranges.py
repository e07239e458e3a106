"""Every number of a config has a range, and what is outside is refused in a sentence, whoever creates the object."""

import inspect
import math
from functools import partial
from typing import Any

import pytest
import torch
from lightning import Trainer

import ftlit
from ftlit.commands.cli import FIT_OPTIONS
from ftlit.errors import UserError
from ftlit.losses import CrossEntropy, Focal, Loss
from ftlit.models.generation import Generation
from ftlit.optimization.optimizer import build_optimizer
from ftlit.training.trainer import RunOptions
from ftlit.util.arguments.ranges import RANGES, Range, check_number, range_key
from tests.test_interface import BASES, concrete, import_everything

NUMBERS = ("int", "float")


def numeric(annotation: Any) -> bool:
    """Whether an annotation, as type or as text, has a number in it."""
    text = annotation.__name__ if inspect.isclass(annotation) else str(annotation)
    return any(word in NUMBERS for word in text.replace("[", " ").replace("]", " ").replace(",", " ").replace("|", " ").split())


def numbers_of(function: Any) -> list[str]:
    return [name for name, parameter in inspect.signature(function).parameters.items() if numeric(parameter.annotation)]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_every_number_of_a_class_has_a_range(base: type) -> None:
    import_everything()
    kinds = [kind for kind in (base, *concrete(base)) if not kind.__module__.startswith("ftlit.commands.planning")]
    lacking = {f"{kind.__name__}.{name}" for kind in kinds for name in numbers_of(kind) if range_key(kind, name) is None}
    assert lacking == set(), "declare its range in ftlit/util/arguments/ranges.py"


def test_every_number_of_the_trainer_has_a_range() -> None:
    words = {"precision", "deterministic"}  # which are chosen from a list
    assert {name for name in numbers_of(Trainer) if f"trainer.{name}" not in RANGES} - words == set()


def test_every_number_of_the_command_and_of_generation_has_a_range() -> None:
    assert {name for name in numbers_of(ftlit.fit) if name in FIT_OPTIONS and name not in RANGES} == set()
    assert {name for name in numbers_of(Generation) if f"model.generation.{name}" not in RANGES} == set()


@pytest.mark.parametrize(
    "kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.RAdam]
)
def test_every_number_of_an_optimizer_has_a_range(kind: Any) -> None:
    numbers = [name for name, p in inspect.signature(kind).parameters.items() if type(p.default) in (int, float, tuple)]
    assert {name for name in numbers if f"model.optimizer.{name}" not in RANGES} == set()


def test_no_range_is_for_an_option_that_does_not_exist() -> None:
    import_everything()
    kinds = [kind for base in BASES for kind in concrete(base)]
    known = {range_key(kind, name) for kind in kinds for name in inspect.signature(kind.__init__).parameters}
    inherited = {range_key(kind, name) for kind in kinds for parent in kind.__mro__ if "__init__" in vars(parent)
                 for name in inspect.signature(parent.__init__).parameters}  # fmt: skip
    elsewhere = ("trainer.", "model.optimizer.", "model.generation.")
    assert {key for key in RANGES if "." in key and not key.startswith(elsewhere)} - known - inherited == set()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "inf"])
def test_no_range_has_a_number_that_is_not_finite(value: Any) -> None:
    for key, allowed in RANGES.items():
        assert not allowed.accepts(value), key
        assert not allowed.accepts([value]), key


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("trainer.max_epochs", [-1, 1, 5], [0, -5, 1.5, True]),
        ("trainer.devices", [1, -1, "auto", "2", [0, 1], "0,1", "0,"], [0, -2, "0", "abc", [-1], 1.5]),
        ("trainer.limit_train_batches", [1, 1000, 0.5, 1.0], [0, 0.0, 1.5, -1]),
        ("trainer.limit_val_batches", [0, 0.0, 10, 0.5], [-1, 1.5]),
        ("trainer.val_check_interval", [1, 1000, 0.25, "00:00:10:00"], [0, 0.0, 1.5, -1]),
        ("trainer.gradient_clip_val", [0, 1.0], [-1, "x"]),
        ("trainer.fast_dev_run", [True, False, 0, 3], [-1]),
        ("model.optimizer.lr", [1e-5, 10], [0, -1]),
        ("model.optimizer.betas", [(0.9, 0.999), [0, 0.5]], [(0.9, 1.0), (-0.1, 0.9)]),
        ("model.lr_factors", [{"lora_B": 16}, {"lora_A": 0}], [{"lora_B": -1}]),
        ("model.layer_decay", [1.0, 0.9], [0, 2]),
        ("model.head_lr_factor", [10, 0.1], [0, -1]),
        ("model.loss.class_weights", ["balanced", [0, 1], [2.0, 0.5]], ["balance", [-1, 1], [0, 0]]),
        ("model.no_answer_threshold", ["best", -1.5], ["worst"]),
        ("seed_everything", [0, 2**32 - 1], [-1, 2**40, True]),
        ("patience", [0, 3], [-1, 2.5]),
        ("data.max_length", [1, 512], [0, 1.5, "long"]),
    ],
)
def test_what_a_range_accepts(key: str, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not RANGES[key].accepts(value)] == []
    assert [value for value in bad if RANGES[key].accepts(value)] == []


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("model.layer_decay", 2.0, "model.layer_decay must be above 0 and at most 1, got 2.0"),
        ("model.optimizer.lr", math.inf, "model.optimizer.lr must be a finite number, above 0, got inf"),
        ("seed_everything", -1, "seed_everything must be from 0 to 4294967295, got -1"),
        ("data.max_length", 1.5, "data.max_length must be a whole number, at least 1, got 1.5"),
        ("trainer.max_epochs", -5, "trainer.max_epochs must be at least 1, or -1, got -5"),
        (
            "trainer.val_check_interval",
            0,
            "trainer.val_check_interval must be at least 1, or a share above 0 and at most 1, got 0",
        ),
        ("model.warmup_ratio", 100, "model.warmup_ratio must be a fraction of all steps, at least 0 and below 1, got 100"),
    ],
)
def test_the_sentence_says_what_is_accepted(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        check_number(key, value)
    assert str(raised.value) == sentence
    check_number(key, None)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CrossEntropy(label_smoothing=-1), "model.loss.label_smoothing must be at least 0 and below 1, got -1"),
        (lambda: CrossEntropy(math.nan), "model.loss.label_smoothing must be at least 0 and below 1, got nan"),
        (lambda: CrossEntropy(class_weights=[-1, 1]), "model.loss.class_weights must be at least 0 and not all 0, got [-1, 1]"),
        (lambda: Focal(gamma=-1), "model.loss.gamma must be at least 0, got -1"),
        (lambda: ftlit.PooledHead(layers=0), "model.head.layers must be at least 1, got 0"),
        (lambda: ftlit.LoRA(alpha=0), "model.tuning.alpha must be above 0, got 0"),
        (lambda: ftlit.LengthGrouped("8"), "data.batching.batch_size must be at least 1, got '8'"),  # type: ignore[arg-type]
        (
            lambda: ftlit.TextClassification(backbone="x", layer_decay=2),
            "model.layer_decay must be above 0 and at most 1, got 2",
        ),
        (lambda: ftlit.TextClassificationData("x", "y", max_length=0), "data.max_length must be at least 1, got 0"),
        (lambda: ftlit.TextClassificationData("x", "y", label_noise=2), "data.label_noise must be from 0 to 1, got 2"),
        (lambda: RunOptions(seed=-1), "seed must be from 0 to 4294967295, got -1"),
        (lambda: RunOptions(patience=-1), "patience must be at least 0, got -1"),
        (lambda: RunOptions(save_every_n_steps=0), "save_every_n_steps must be at least 1, got 0"),
    ],
)
def test_objects_of_python_are_checked_before_anything_is_loaded(make: Any, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        make()
    assert str(raised.value) == sentence


def test_classes_outside_the_package_have_ranges_for_inherited_arguments_only() -> None:
    class Scaled(Focal):
        def __init__(self, gamma: float = 1.0, delta: float = -1.0) -> None:
            super().__init__(gamma)

    assert Scaled(delta=-3).gamma == 1.0
    with pytest.raises(UserError, match=r"model\.loss\.gamma must be at least 0, got -2"):
        Scaled(gamma=-2)
    assert inspect.signature(Focal).parameters.keys() == {"gamma", "class_weights"}
    assert inspect.isabstract(Loss)


@pytest.mark.parametrize("given", [{"lr": 0.0}, {"lr": math.inf}, {"lr": -1.0}, {"lr": 1e-3, "weight_decay": -1.0}])
def test_optimizers_of_python_are_checked(given: dict[str, float]) -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))], "lr_scale": 1.0}]
    with pytest.raises(UserError, match=r"^model\.optimizer"):
        build_optimizer(partial(torch.optim.AdamW, **given), groups)


def test_ranges_describe_themselves() -> None:
    assert str(Range(least=1, most=3)) == "from 1 to 3"
    assert str(Range()) == "a finite number"
    assert str(Range(whole=True)) == "a whole number"

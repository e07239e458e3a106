"""The numbers that the options of a config accept, declared once beside what they affect (`ftlit.util.options`).

The command line checks a whole config before anything is loaded. Classes of `ftlit.util.arguments.checked` check their
arguments when they are created from Python. A test fails for a number without a range. Options of classes outside the package
need none.
"""

import inspect
import math
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any

from ftlit.errors import UserError


@dataclass(frozen=True)
class Range:
    """The numbers that an option accepts. NaN and infinity are never among them.

    Args:
        least: Smallest number.
        most: Largest number.
        above: Number below all accepted ones.
        below: Number above all accepted ones.
        whole: Whether the number counts something.
        also: A number outside the range that has a meaning of its own.
        unit: What the number measures, for the message.
        share: Range of a value with a decimal point, if that is a share and not a count.
        words: Texts that are accepted instead of a number; None for any text.
        not_all_zero: Whether a list must have a number other than 0.
        flag: Whether true and false are accepted too.
        items: Range of the numbers in a list, if it is another one.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    whole: bool = False
    also: int | None = None
    unit: str = ""
    share: "Range | None" = None
    words: tuple[str, ...] | None = ()
    not_all_zero: bool = False
    flag: bool = False
    items: "Range | None" = None

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            bounds = [f"from {self.least:.10g} to {self.most:.10g}"]
        else:
            named = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
            bounds = [f"{name} {bound:.10g}" for name, bound in named.items() if bound is not None]
        text = " and ".join(bounds) or ("a whole number" if self.whole else "a finite number")
        text += " and not all 0" if self.not_all_zero else ""
        more = [f"or {self.also}"] if self.also is not None else []
        more += [f"or a share {self.share}"] if self.share else []
        return ", ".join([*([self.unit] if self.unit else []), text, *more])

    def accepts(self, value: Any) -> bool:
        """Whether a value is accepted; lists and dictionaries are if all of their values are."""
        if isinstance(value, dict):
            return all(self.accepts(inner) for inner in value.values())
        if isinstance(value, list | tuple):
            return all((self.items or self).accepts(inner) for inner in value) and (any(value) or not self.not_all_zero)
        if isinstance(value, bool):
            return self.flag
        if isinstance(value, str) and self.items is not None and "," in value:
            return all(self.items._holds(_number(inner)) for inner in value.rstrip(",").split(","))
        if isinstance(value, str):
            number = None if self.words == () else _number(value)
            return value in (self.words or ()) or self._holds(number) or (self.words is None and number is None)
        return not isinstance(value, Real) or self._holds(value)

    def _holds(self, value: Any) -> bool:
        if value is None or not math.isfinite(value):
            return False
        if self.share is not None and not isinstance(value, Integral):
            return self.share.accepts(value)
        if self.also is not None and value == self.also:
            return True
        return not (
            (self.whole and value != int(value))
            or (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )


def _number(text: str) -> float | None:
    """The number that a text is, as in ``--trainer.devices 2``, which the parser leaves a text."""
    try:
        return float(text) if not text.strip().lstrip("+-").isdecimal() else int(text)
    except ValueError:
        return None


COUNT, COUNT_OR_NONE = Range(least=1, whole=True), Range(least=0, whole=True)
POSITIVE, NOT_NEGATIVE, FINITE = Range(above=0), Range(least=0), Range()
INSIDE, PROBABILITY = Range(above=0, below=1), Range(above=0, most=1)
FRACTION = Range(least=0, below=1)
SEED = Range(least=0, most=2**32 - 1, whole=True)  # what NumPy takes
LIMIT = Range(least=1, whole=True, also=-1)
BATCHES = Range(least=1, whole=True, share=PROBABILITY)
BATCHES_OR_NONE = Range(least=0, whole=True, share=Range(least=0, most=1))

LISTS = ("data.augment",)  # options with several objects, which messages name by their classes
RANGES: dict[str, Range] = {
    # The command
    "seed_everything": SEED,
    "patience": COUNT_OR_NONE,
    "save_every_n_steps": COUNT,
    # Lightning's Trainer
    "trainer.devices": Range(least=1, whole=True, also=-1, words=("auto",), items=COUNT_OR_NONE),
    "trainer.num_nodes": COUNT,
    "trainer.fast_dev_run": Range(least=0, whole=True, flag=True),
    "trainer.max_epochs": LIMIT,
    "trainer.min_epochs": COUNT_OR_NONE,
    "trainer.max_steps": LIMIT,
    "trainer.min_steps": COUNT_OR_NONE,
    "trainer.max_time": Range(least=0, words=None),
    "trainer.limit_train_batches": BATCHES,
    "trainer.limit_val_batches": BATCHES_OR_NONE,
    "trainer.limit_test_batches": BATCHES_OR_NONE,
    "trainer.limit_predict_batches": BATCHES_OR_NONE,
    "trainer.overfit_batches": BATCHES_OR_NONE,
    "trainer.val_check_interval": Range(least=1, whole=True, share=PROBABILITY, words=None),
    "trainer.check_val_every_n_epoch": COUNT,
    "trainer.num_sanity_val_steps": Range(least=0, whole=True, also=-1),
    "trainer.log_every_n_steps": COUNT_OR_NONE,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": NOT_NEGATIVE,
    "trainer.reload_dataloaders_every_n_epochs": COUNT_OR_NONE,
    # The optimizer: all of PyTorch's
    "model.optimizer.lr": POSITIVE,
    "model.optimizer.weight_decay": NOT_NEGATIVE,
    "model.optimizer.betas": FRACTION,
    "model.optimizer.eps": NOT_NEGATIVE,
    "model.optimizer.momentum": FRACTION,
    "model.optimizer.dampening": Range(least=0, most=1),
    "model.optimizer.alpha": Range(least=0, most=1),
    "model.optimizer.rho": Range(least=0, most=1),
    "model.optimizer.lr_decay": NOT_NEGATIVE,
    "model.optimizer.initial_accumulator_value": NOT_NEGATIVE,
    "model.optimizer.momentum_decay": NOT_NEGATIVE,
    "model.optimizer.lambd": NOT_NEGATIVE,
    "model.optimizer.t0": NOT_NEGATIVE,
    "model.optimizer.etas": POSITIVE,
    "model.optimizer.step_sizes": POSITIVE,
    # The task
    "model.warmup_ratio": Range(least=0, below=1, unit="a fraction of all steps"),
    "model.layer_decay": PROBABILITY,
    "model.head_lr_factor": POSITIVE,
    "model.lr_factors": NOT_NEGATIVE,
    "model.dropout": FRACTION,
    "model.keep_layers": COUNT_OR_NONE,
    "model.mask_probability": PROBABILITY,
    "model.n_best": COUNT,
    "model.max_answer_tokens": COUNT,
    "model.no_answer_threshold": Range(words=("best",)),
    "model.samples": COUNT_OR_NONE,
    "model.generate_every_n_epochs": COUNT,
    "model.generate_limit": COUNT,
    "model.generation.num_beams": COUNT,
    "model.generation.max_new_tokens": COUNT,
    "model.generation.min_new_tokens": COUNT_OR_NONE,
    "model.generation.length_penalty": FINITE,
    "model.generation.no_repeat_ngram_size": COUNT_OR_NONE,
    "model.generation.repetition_penalty": POSITIVE,
    "model.generation.temperature": POSITIVE,
    "model.generation.top_k": COUNT_OR_NONE,
    "model.generation.top_p": PROBABILITY,
    "model.generation.seed": SEED,
    # Taken from the data
    "model.label_counts": COUNT_OR_NONE,
    "model.label_scale": FINITE,
    "model.pad_token_id": COUNT_OR_NONE,
    "model.stop_id": COUNT_OR_NONE,
    "model.added_tokens": COUNT_OR_NONE,
    "model.max_target_length": COUNT,
    # Tuning methods
    "model.tuning.r": COUNT,
    "model.tuning.init_r": COUNT,
    "model.tuning.alpha": POSITIVE,
    "model.tuning.dropout": FRACTION,
    "model.tuning.layers": Range(whole=True),
    "model.tuning.tinit": NOT_NEGATIVE,
    "model.tuning.tfinal": NOT_NEGATIVE,
    "model.tuning.deltaT": COUNT,
    "model.tuning.orthogonality": NOT_NEGATIVE,
    "model.tuning.reduction": COUNT,
    "model.tuning.epochs": COUNT,
    "model.tuning.steps": COUNT_OR_NONE,
    "model.tuning.HeadFirst.steps": COUNT,
    "model.tuning.tokens": COUNT,
    "model.tuning.width": COUNT,
    "model.tuning.k": COUNT_OR_NONE,
    # Heads, losses, auxiliary losses
    "model.head.layers": COUNT,
    "model.head.dropout": FRACTION,
    "model.loss.label_smoothing": FRACTION,
    "model.loss.class_weights": Range(least=0, words=("balanced",), not_all_zero=True),
    "model.loss.gamma": NOT_NEGATIVE,
    "model.loss.delta": POSITIVE,
    "model.loss.temperature": POSITIVE,
    "model.loss.alpha": Range(least=0, most=1),
    "model.keep.alpha": NOT_NEGATIVE,
    "model.keep.beta": NOT_NEGATIVE,
    "model.keep.strength": NOT_NEGATIVE,
    "model.keep.rows": COUNT,
    "model.auxiliary.weight": NOT_NEGATIVE,
    "model.auxiliary.probability": PROBABILITY,
    # The data
    "data.max_length": COUNT,
    "data.max_target_length": COUNT,
    "data.limit_train": COUNT,
    "data.limit_validation": COUNT,
    "data.limit_test": COUNT,
    "data.shots": COUNT,
    "data.validation_share": INSIDE,
    "data.folds": Range(least=2, whole=True),
    "data.fold": COUNT_OR_NONE,
    "data.test_share": INSIDE,
    "data.replay.share": INSIDE,
    "data.seed": SEED,
    "data.order_seed": SEED,
    "data.num_workers": Range(least=0, most=256, whole=True),
    "data.cache_limit": Range(least=0, unit="gigabytes"),
    "data.reserved_positions": COUNT_OR_NONE,
    "data.mask_probability": PROBABILITY,
    "data.stride": COUNT_OR_NONE,
    "data.label_noise": Range(least=0, most=1),
    "data.batching.batch_size": COUNT,
    "data.batching.pool": COUNT,
    "data.batching.max_tokens": COUNT,
    "data.augmented_copies": COUNT,
    "data.augment.probability": INSIDE,
    "data.augment.share": INSIDE,
    "data.augment.batch_size": COUNT,
}


def check_number(key: str, value: Any, shown: str | None = None) -> None:
    """Check the value of an option against its range, if it has one.

    Args:
        key: The option in `RANGES`.
        value: The value; None stands for no value.
        shown: The option as the user wrote it; by default `key`.

    Raises:
        UserError: The value is out of range.
    """
    allowed = RANGES.get(key)
    if allowed is not None and value is not None and not allowed.accepts(value):
        raise UserError(f"{shown or key} must be {_wanted(allowed, value)}, got {value!r}")


def _wanted(allowed: Range, value: Any) -> str:
    if isinstance(value, float) and math.isinf(value):
        return f"a finite number, {allowed}" if "finite" not in str(allowed) else str(allowed)
    if allowed.whole and allowed.share is None and isinstance(value, float) and value != int(value):
        return f"a whole number, {allowed}" if "whole" not in str(allowed) else str(allowed)
    return str(allowed)


def check_section(section: str, values: dict[str, Any]) -> None:
    """Check the options of a section of the config, such as ``trainer``."""
    for name, value in values.items():
        check_number(f"{section}.{name}".lstrip("."), value)


def check_arguments(kind: type, arguments: dict[str, Any], shown: str = "") -> None:
    """Check the numbers among the arguments of a class of the package, or of a class that is derived from one.

    Args:
        kind: The class, whose ``config_key`` is the option that it is a value of.
        arguments: The arguments by name.
        shown: How messages begin; by default with ``config_key`` and a dot.
    """
    own = getattr(kind, "config_key", "")
    begin = shown or (f"{own}: {kind.__name__}." if own in LISTS else f"{own}.")
    for name, value in arguments.items():
        if (key := range_key(kind, name)) is not None:
            check_number(key, value, begin + name)


@cache
def range_key(kind: type, name: str) -> str | None:
    """The key in `RANGES` of an argument of a class; None if it has no range, or is that of a class outside the package."""
    section = getattr(kind, "config_key", None)
    owners = [parent for parent in inspect.getmro(kind) if parent.__module__.startswith("ftlit.")]
    if section is None or not any(name in inspect.signature(parent.__init__).parameters for parent in owners):  # type: ignore[misc]
        return None
    keys = [f"{section}.{parent.__name__}.{name}" for parent in owners] + [f"{section}.{name}"]
    return next((key for key in keys if key in RANGES), None)

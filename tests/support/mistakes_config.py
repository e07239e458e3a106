"""Mistakes in configs, made from the signatures of what a config describes: every option, of a wrong type, out of its range,
null, or misspelt. What is no mistake by its declaration, such as null for an option that has no value by default, is left out.
"""

import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from lightning import Trainer

import ftlit
from ftlit.commands.check_config import allows_null
from ftlit.commands.links import DATA_OF, LINKED
from ftlit.models.generation import Generation
from ftlit.util.arguments.ranges import RANGES, Range, range_key
from tests.support.data import sentiment_splits, write_splits
from tests.support.models import tiny_model
from tests.test_interface import concrete, import_everything, is_internal

Case = tuple[str, list[str]]
COMMAND = {"seed_everything": int, "patience": int | None, "save_every_n_steps": int | None, "test_after_fit": bool,
           "evaluate_untrained": bool, "training_checks": bool, "keep_last": bool}  # fmt: skip
# Options whose wrong values only a library knows, or that name objects of Lightning.
LEFT_OUT = {"kwargs", "callbacks", "logger", "plugins", "profiler", "strategy", "default_root_dir", "model_registry", "self"}
NOTHING = "no-such-value"
NOT_YAML = {
    "empty": b"",
    "text": b"hello\n",
    "list": b"- model\n",
    "tabs": b"model:\n\tclass_path: TextClassification\n",
    "utf-16": "run_dir: x\n".encode("utf-16"),
    "latin-1": "run_dir: caf\u00e9\n".encode("latin-1"),
    "cut": b"model: {class_path: TextClassification, init_args: {\n",
    "a key twice": b"run_dir: a\nrun_dir: b\n",
    "an inner key twice": b"trainer: {max_epochs: 1, max_epochs: 2}\n",
    "trainer is a list": b"trainer: [1]\n",
    "trainer is a number": b"trainer: 3\n",
    "trainer is a text": b"trainer: fast\n",
    "model is a list": b"model: [TextClassification]\n",
    "data is a number": b"data: 3\n",
    "init_arg": b"model: {class_path: TextClassification, init_arg: {backbone: x}}\n",
    "an unknown key": b"trainers: {max_epochs: 3}\n",
}


def cases(folder: Path) -> Iterator[Case]:
    """Names and arguments of commands that must be refused.

    Args:
        folder: Folder for the model, the data and the configs that the commands name.
    """
    base = base_arguments(folder)
    import_everything()
    seen = set[tuple[str, str]]()  # an option that classes inherit is tried with one of them
    for section, kind, chosen in sections(base):
        for name, owner in owners(kind).items():
            if (owner, name) not in seen and name not in (LEFT_OUT | LINKED.get(section, set())):
                seen.add((owner, name))
                yield from of_option(section, kind, name, chosen)
    for name, hint in COMMAND.items():
        yield from of_values(name, hint, RANGES.get(name), allowed_null=type(None) in get_args(hint), given=base)
        yield f"{name} misspelt", [*base, f"--{misspelt(name)}=1"]
    yield from of_files(folder, base)
    yield from of_environments(base)


def base_arguments(folder: Path) -> list[str]:
    """The arguments of a run that begins."""
    for inner in ("model", "data"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    backbone, dataset = tiny_model(folder / "model", "bert"), write_splits(folder / "data", sentiment_splits())
    options = {"model": "TextClassification", "model.backbone": backbone, "data": "TextClassificationData",
               "data.dataset": dataset, "run_dir": folder / "run", "trainer.accelerator": "cpu", "trainer.devices": 1,
               "trainer.max_epochs": 1, "trainer.enable_progress_bar": "false"}  # fmt: skip
    return ["fit", *(f"--{key}={value}" for key, value in options.items())]


def sections(base: list[str]) -> Iterator[tuple[str, Any, list[str]]]:
    """Every section of a config with a class that may stand there, and the arguments that choose it."""
    yield "trainer", Trainer, base
    for task, modules in DATA_OF.items():
        chosen = [
            *without(base, "model", "data"),
            f"--model={task.__name__}",
            f"--model.backbone={value_of(base, 'model.backbone')}",
        ]
        for module in modules:
            whole = [*chosen, f"--data={module.__name__}", f"--data.dataset={value_of(base, 'data.dataset')}"]
            yield "data", module, whole
        yield "model", task, whole
        if "generation" in owners(task):
            yield "model.generation", Generation, whole
    yield "model.optimizer", torch.optim.AdamW, [*base, "--model.optimizer=AdamW"]
    for parent in (ftlit.Tuning, ftlit.Head, ftlit.Loss, ftlit.Auxiliary, ftlit.Batching):
        for kind in sorted(concrete(parent), key=lambda kind: kind.__name__):
            if not is_internal(kind):
                yield parent.config_key, kind, [*base, f"--{parent.config_key}={kind.__name__}"]


def owners(kind: Any) -> dict[str, str]:
    """The options of a class and its parents, with the name of the parent that declares each."""
    parents = [parent for parent in reversed(inspect.getmro(kind)) if "__init__" in vars(parent) and parent is not object]
    return {name: parent.__qualname__ for parent in parents for name in inspect.signature(parent.__init__).parameters}


def of_option(section: str, kind: Any, name: str, given: list[str]) -> Iterator[Case]:
    """The mistakes with one option of a class."""
    allowed = RANGES.get(range_key(kind, name) or f"{section}.{name}")
    hint = hint_of(kind, name)
    title = f"{section}.{name}" if section == "trainer" else f"{kind.__name__}: {section}.{name}"
    for mistake, args in of_values(f"{section}.{name}", hint, allowed, allows_null(kind, name), given):
        yield f"{title}{mistake.removeprefix(f'{section}.{name}')}", args
    yield f"{title} misspelt", [*given, f"--{section}.{misspelt(name)}=1"]


def of_values(key: str, hint: Any, allowed: Range | None, allowed_null: bool, given: list[str]) -> Iterator[Case]:
    """The wrong values of an option."""
    for value in wrong_types(hint):
        yield f"{key} of a wrong type: {value}", [*given, f"--{key}={value}"]
    for value in out_of(allowed, hint):
        yield f"{key} out of range: {value}", [*given, f"--{key}={value}"]
    if not allowed_null:
        yield f"{key} null", [*given, f"--{key}=null"]


def hint_of(kind: Any, name: str) -> Any:
    for parent in inspect.getmro(kind):
        if "__init__" in vars(parent) and name in inspect.signature(parent.__init__).parameters:
            return get_type_hints(parent.__init__).get(name)
    return None


def kinds_in(hint: Any) -> set[Any]:
    """The types of which a value may be, such as ``list`` for a list of numbers."""
    if get_origin(hint) in (Union, UnionType):
        return set[Any]().union(*map(kinds_in, get_args(hint)))
    return {get_origin(hint) or hint}


def wrong_types(hint: Any) -> list[str]:
    """Values that are not of a type, as they are written on the command line; none for texts, which may be anything."""
    kinds = kinds_in(hint) - {type(None)}
    if not kinds <= {int, float, bool, list, dict, Literal}:
        return []
    return [NOTHING] if dict in kinds else [NOTHING, "{a: {b: [1]}}"]


def out_of(allowed: Range | None, hint: Any) -> list[Any]:
    """Numbers outside a range, in a list if the option takes no single number."""
    if allowed is None:
        return []
    beyond = {allowed.least: -1, allowed.above: 0, allowed.most: 1, allowed.below: 0}
    numbers = {math.nan, *(bound + step for bound, step in beyond.items() if bound is not None)}
    wrong = [number for number in sorted(numbers, key=str) if not allowed.accepts(number)]
    written = [f".{number}" if not math.isfinite(number) else str(number) for number in wrong]
    if kinds_in(hint) & {int, float}:
        return written
    return [f"{{a: {number}}}" if dict in kinds_in(hint) else f"[{number}, {number}]" for number in written]


def misspelt(name: str) -> str:
    """A name with a letter too many."""
    return f"{name[:-1]}{name[-1]}{name[-1]}x"


def without(args: list[str], *sections: str) -> list[str]:
    return [arg for arg in args if not arg.startswith(tuple(f"--{section}{end}" for section in sections for end in "=."))]


def value_of(args: list[str], key: str) -> str:
    return next(arg for arg in args if arg.startswith(f"--{key}=")).partition("=")[2]


def of_files(folder: Path, base: list[str]) -> Iterator[Case]:
    """Config files that hold no config, or are none."""
    for name, content in NOT_YAML.items():
        file = folder / f"{name.replace(' ', '_')}.yaml"
        file.write_bytes(content)
        yield f"a config file: {name}", ["fit", f"--config={file}", *base[1:]]
    (folder / "dangling.yaml").symlink_to("nowhere.yaml")
    (folder / "a_folder.yaml").mkdir()
    (folder / "a_file").write_text("x")
    for name in ("dangling.yaml", "a_folder.yaml", "missing.yaml"):
        yield f"a config file: {name}", ["fit", f"--config={folder / name}", *base[1:]]
    for place in ("a_file", "a_file/run"):
        yield f"run_dir: {place}", [*base, f"--run_dir={folder / place}"]
    yield "run_dir empty", [*base, "--run_dir="]


def of_environments(base: list[str]) -> Iterator[Case]:
    """Classes and settings that do not go together, or not on this machine."""
    for args in (
        ["--trainer.devices=0"], ["--trainer.devices=-1"], ["--trainer.devices=abc"], ["--trainer.devices=99"],
        ["--trainer.strategy=dpp"], ["--trainer.strategy=fsdp"], ["--trainer.strategy=deepspeed"],
        ["--trainer.accelerator=tpu"], ["--trainer.accelerator=cpuu"], ["--trainer.val_check_interval=1000"],
        ["--trainer.profiler=fast"], ["--trainer.max_time=soon"], ["--trainer=[1]"], ["--trainer=5"], ["--trainer=null"],
        ["--model=TextClassificationData"], ["--data=TextClassification"], ["--model=os.path"], ["--model=LoRA"],
        ["--model.tuning=TaskHead"], ["--model.head=Full"], ["--model.head=EntityHead"], ["--model.tuning=AdamW"],
        ["--model=TextRegression"], ["--model=TokenClassification"], ["--data=Seq2SeqData"], ["--model=MaskedLM"],
        ["--data.label=text"], ["--data.augmented_copies=3"], ["--data.label_names=[good,bad,good]"],
        ["--model.lr=1e-4"], ["--lr=1e-4"], ["--batch_size=8"], ["--model.monitor=val/mccc"], ["--model.schedule=linea"],
        ["--model.loss=CrossEntropy", "--model.loss.class_weights=[-1,1]"],
        ["--model.loss=CrossEntropy", "--model.loss.class_weights=[1,1,1]"],
        ["--data.augment=[{class_path: RandomDeletion, init_args: {probability: 2}}]"],
        ["--data.augment=[{class_path: RandomDeletionn}]"],
        ["--model.optimizer=SGD", "--model.optimizer.momentum=-1"],
        ["--model.optimizer=SGD", "--model.optimizer.nesterov=true"],
    ):  # fmt: skip
        yield " ".join(args), [*base, *args]
    yield "no data", without(base, "data")
    yield "no class of data", [*without(base, "data"), "--data.dataset=my.csv"]
    yield "no class of model", [*without(base, "model"), "--model.backbone=x"]

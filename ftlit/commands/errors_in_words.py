"""Shorten the parser's errors to one line that suggests what was probably meant."""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import lightning.pytorch.callbacks  # noqa: F401  their names are known
from lightning import Callback
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer

from ftlit.commands.renamed import renamed, renamed_option
from ftlit.data.batches.batching import Batching
from ftlit.data.replay.mixture import Replay
from ftlit.data.rows.augment import Augmentation
from ftlit.data.shared.base import TaskData
from ftlit.errors import near
from ftlit.exports.back_translation import BackTranslation  # noqa: F401  its name is known
from ftlit.heads import Head
from ftlit.losses import Loss
from ftlit.optimization.auxiliary import Auxiliary
from ftlit.optimization.keep import Keep
from ftlit.tasks import TaskModule
from ftlit.tuning import Tuning
from ftlit.util.arguments.ranges import RANGES
from ftlit.util.options import OPTIONS, without_init_args
from ftlit.util.private import option_names

BASES = (TaskModule, TaskData, Tuning, Head, Loss, Batching, Augmentation, Auxiliary, Keep, Replay, Optimizer, Callback, Logger)
EXAMPLES = {"model": "TextClassification", "data": "TextClassificationData"}  # of classes, for messages


class ShortErrors(LightningArgumentParser):
    """A parser that prints errors in one line and refers to --help."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"prog": "ftlit", **kwargs})  # also where jsonargparse makes one, to explain a class

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        sys.stderr.write(f"error: {short(message, parser)}\nsee: {program} --help\n")
        sys.exit(2)


def short(message: str, parser: Any) -> str:
    """Return an error message of the parser in one line, with the most similar known name for an unknown one."""
    if found := re.search(r"Call to compute_fn of link .* failed: (.*)", message, re.DOTALL):
        return found[1]  # what a class says of its own arguments
    if found := re.search(r"given class_path '([\w.]+)':\s+(?:\w+ )?Option '([\w.]+)' is not accepted", _last(message)):
        return _unknown_argument(found[1], found[2])
    if found := re.search(r"Option '([\w.]+)' is not accepted. Got value: Namespace\(class_path='([\w.]+)'", message):
        return _unknown_argument(found[2], found[1])
    if found := re.search(r"Expected a dot import path string: (\w+)\s*$|has no attribute '(\w+)'", message, re.MULTILINE):
        name = found[1] or found[2]
        if name in _class_names() and (keys := re.findall(r'Parser key "([\w.]+)"', message)):
            return _misplaced(name, ".".join(keys))
        return renamed(name) or f"there is no class {name!r}. {near(name, sorted(_class_names()))}"
    if found := re.search(r"does not accept option '([\w.]+)'", message):
        return renamed(found[1]) or f"there is no option {found[1]!r}. {_near_option(found[1], parser)}"
    if found := re.search(r"Unrecognized arguments: --([\w.]+)", message, re.IGNORECASE):
        return renamed(found[1]) or f"there is no option --{found[1]}. {_near_option(found[1], parser)}"
    if found := re.search(r"given class_path '([\w.]+)':\s+(the following arguments are required: .*)", _last(message)):
        return f"{found[1].rsplit('.', 1)[-1]}: {found[2]}"
    if found := re.search(r"the following arguments are required: (.*)", message):
        return _lacking(found[1])
    if "Expected" in message and (keys := re.findall(r'Parser key "([\w.]+)"', message)):
        return _wrong_value(".".join(keys), message)
    lines = [line.strip() for line in message.strip().splitlines()]
    return " ".join(line for line in lines if line)[:600]


def _misplaced(name: str, key: str) -> str:
    """The sentence for a known class in the place of another kind."""
    base = next(base for base in BASES if name in _names_below(base))
    kind = f"a {base.__name__}" if base.__name__[0] not in "AEIO" else f"an {base.__name__}"
    place = f": give it as {base.config_key}" if hasattr(base, "config_key") else ""
    return f"{key} cannot be {name}, which is {kind}{place}"


def _lacking(names: str) -> str:
    """The sentence for options without a default, which the parser names with the command before a dot."""
    command, own = names.split(".", 1)[0], [name.split(".", 1)[-1] for name in names.split(", ")]
    examples = [f"--{name} {EXAMPLES[name]}" if name in EXAMPLES else f"--{name}" for name in own]
    return f"{command} needs {' and '.join(own)}: add {' '.join(examples)}"


def _wrong_value(key: str, message: str) -> str:
    if key in EXAMPLES and (nested := re.search(r"NestedArg\(key='([\w.]+)'", message)):
        return f"--{key}.{nested[1]} is an option of a class, and none is given: add --{key} {EXAMPLES[key]}, or another"
    key = _from_elsewhere(key)
    value = re.search(r"Given value: (?:NestedArg\(key='[\w.]+', val='(.*)'\)|(.*))", message)
    got = re.search(r"Got value: (.*)", message)
    shown = got[1] if got else value and (value[1] or value[2])
    wanted = re.findall(r"Expected (?:a )?<class '(\w+)'>|Expected a typing.Literal\[(.*?)\]", message)
    names = dict.fromkeys(kind or choices for kind, choices in wanted if kind != "NoneType")
    return f"{key}: expected {' or '.join(names) or 'another value'}, got {shown}"


def _from_elsewhere(key: str) -> str:
    """The option from which another one takes its value, since only the former can be changed; or the option itself."""
    found = OPTIONS.get(key)
    return found.source if found and found.source and found.source != "data" else key


def _last(message: str) -> str:
    """Return the innermost error, since jsonargparse reports one for each level of nested classes."""
    start = message.rfind("given class_path")
    return message[start:] if start >= 0 else message


def _unknown_argument(class_path: str, option: str) -> str:
    module, name = class_path.rsplit(".", 1)
    kind = getattr(sys.modules[module], name)
    if sentence := renamed_option(kind, option):
        return sentence
    known: list[str] = []
    for parent in inspect.getmro(kind):
        if "__init__" in vars(parent) and parent is not object:
            known += [p for p in inspect.signature(parent).parameters if p not in ("self", "args", "kwargs")]
    return f"{name} has no option {option!r}. {_elsewhere(option) or near(option, dict.fromkeys(known))}"


def _near_option(option: str, parser: Any) -> str:
    return _elsewhere(option) or near(option, option_names(parser))


def _elsewhere(option: str) -> str:
    """A sentence with the option of the same name in another section; empty if there is none."""
    last = option.rsplit(".", 1)[-1]
    same = [key for key in (*RANGES, *map(without_init_args, OPTIONS)) if key.rsplit(".", 1)[-1] == last and "." in key]
    return f"Did you mean {same[0]!r}?" if same else ""


SEVERAL = (list[str], list[str] | None)  # types of options that are given several times


def with_explicit_flags(args: list[str], function: Callable[..., Any]) -> list[str]:
    """Return arguments of a command in which flags without a value are true and option names contain underscores.

    An option that takes a list may be given several times, each time with one value.

    Args:
        args: The name of the command, followed by its options.
        function: The function that the command runs.
    """
    kinds = {f"--{name}": parameter.annotation for name, parameter in inspect.signature(function).parameters.items()}
    given = []
    for arg, following in zip(args, [*args[1:], "--"], strict=True):
        written, equals, value = arg.partition("=")
        name = "--" + written[2:].replace("-", "_") if written.startswith("--") else written
        name = name if name in kinds else written
        flag = kinds.get(name) is bool and not equals and following.startswith("--")
        name += "+" if kinds.get(name) in SEVERAL else ""  # jsonargparse then adds the value to the list
        given.append(f"{name}=true" if flag else f"{name}{equals}{value}")
    return given


def _class_names() -> set[str]:
    return {name for base in BASES for name in _names_below(base)}


def _names_below(base: type) -> set[str]:
    """The names of a class and of all that are derived from it, without those that cannot be created."""
    found: set[str] = set()
    todo: list[type] = [base]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if not inspect.isabstract(kind) and not kind.__name__.startswith("_"):
            found.add(kind.__name__)
    return found

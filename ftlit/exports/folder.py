"""Exported folders: what makes one a whole model again, and how it is opened."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch.cli import instantiate_module
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedModel

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError, user_error
from ftlit.exports.adapters import adapter_keys, load_adapter, plain_name
from ftlit.runs.checkpoint import trained_keys
from ftlit.tasks import TaskModule
from ftlit.util.files import read_json

if TYPE_CHECKING:
    from torch import Tensor

# A folder is of one of three kinds: `model`, all that transformers knows as one model; `backbone`, a model of transformers and
# a head that it does not know; `adapter`, an adapter of peft and what else trained.
Kind = Literal["model", "backbone", "adapter"]
ABOUT, BESIDE, TARGETS = "ftlit.json", "head.safetensors", "target_tokenizer"
HERE = "<this folder>"  # which may move
# Only training needs these, and files and models that they name may be gone. Merged weights need no method.
ONLY_TRAINING: dict[str, Any] = {"init_from": None, "auxiliary": None}
MERGED: dict[str, Any] = {
    "backbone": HERE,
    "tuning": {"class_path": "ftlit.tuning.Full"},
    "pretrained": True,
    "decoder": None,
    "added_tokens": [],  # they have become tokens like the others
}
ONLY_TRAINING_DATA: dict[str, Any] = {
    "augment": None,
    "label_noise": 0.0,
    "rebalance": False,
    "unlabelled": None,
    "num_workers": 0,
}
MERGED_DATA: dict[str, Any] = {"backbone": HERE, "decoder": None, "pad_token": None}


def is_exported(folder: Path) -> bool:
    """Whether a folder was written by an export."""
    return (folder / ABOUT).is_file()


def data_for_export(arguments: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters of a data module without what only training needs."""
    return _changed(arguments, ONLY_TRAINING_DATA)


def arguments_of(checkpoint: dict[str, Any], kind: Kind, data: TaskData) -> dict[str, Any]:
    """Hyper-parameters that open a folder: those of ``task`` and of ``data``, where names of files stand for what is there.

    Args:
        checkpoint: The checkpoint of the run.
        kind: What the folder is.
        data: The run's data.
    """
    found: dict[str, Any] = {"max_length": data.max_length}
    if getattr(data, "label_names", None):
        found["label_names"] = checkpoint["hyper_parameters"]["label_names"]
    if hasattr(data, "chat_template"):
        found["template"] = f"{HERE}/chat_template.jinja"
    base = {"backbone": _absolute(data.backbone)}
    task_changes, data_changes = (base, base) if kind == "adapter" else (MERGED, MERGED_DATA)
    return {
        "task": _changed(checkpoint["hyper_parameters"], ONLY_TRAINING, task_changes),
        "data": _changed(checkpoint["datamodule_hyper_parameters"], ONLY_TRAINING_DATA, data_changes, found),
    }


def _absolute(backbone: str) -> str:
    path = Path(backbone).expanduser()
    return str(path.resolve()) if path.exists() else backbone


def _changed(arguments: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters with other values for some of those that there are."""
    merged = {name: value for change in changes for name, value in change.items()}
    return {name: merged.get(name, value) for name, value in arguments.items() if name != "_instantiator"}


def build(kind: Any, arguments: dict[str, Any]) -> Any:
    """A task or its data from hyper-parameters, as checkpoints and exported folders keep them.

    Raises:
        UserError: What was raised inside.
    """
    try:
        return instantiate_module(kind, arguments)
    except ValueError as error:  # in which the parser wraps what was raised inside the task
        raise (user_error(error) or error) from None


# Weights beside the model's or the adapter's own file


def beside(task: TaskModule, kind: Kind) -> dict[str, str]:
    """The weights in ``head.safetensors``: their names there, and in the task's state dict.

    The weights of a self-supervised loss have done their work, and are in no folder.
    """
    keys = set(task.state_dict())
    prefix = _backbone_prefix(task)
    if kind == "adapter":
        keys = trained_keys(task) - adapter_keys(task)
    else:
        whole = "model." if isinstance(task.model, PreTrainedModel) else prefix
        keys = {key for key in keys if not key.startswith(whole)}
    kept = [key for key in sorted(keys) if key.split(".")[0] not in ("evaluators", "self_supervision")]
    return {_beside_name(key, prefix): key for key in kept}


def _backbone_prefix(task: TaskModule) -> str:
    name = task.model.base_model_prefix
    return f"model.{name}." if hasattr(task.model, name) else "model."


def _beside_name(key: str, prefix: str) -> str:
    if key.startswith(prefix):
        return f"backbone.{plain_name(key.removeprefix(prefix))}"
    return key.removeprefix("model.") if key.startswith("model.") else f"task.{key}"


def save_beside(task: TaskModule, kind: Kind, folder: Path) -> None:
    """Write the weights that no other file of the folder holds, where there are any."""
    state = task.state_dict()
    weights = {name: state[key].detach().cpu().clone().contiguous() for name, key in beside(task, kind).items()}
    if weights or kind != "model":
        save_file(weights, folder / BESIDE, metadata={"format": "pt"})


def _load_beside(task: TaskModule, kind: Kind, folder: Path) -> None:
    file, state = folder / BESIDE, task.state_dict()
    weights: dict[str, Tensor] = load_file(file) if file.is_file() else {}
    names = beside(task, kind)
    odd = [name for name in names.keys() | weights.keys() if not _fits(weights.get(name), state.get(names.get(name, "")))]
    if odd:
        raise UserError(f"{file} does not fit {folder / ABOUT}: {len(odd)} weights, such as {min(odd)}; export the run again")
    with torch.no_grad():
        for name, key in names.items():
            state[key].copy_(weights[name])


def _fits(given: "Tensor | None", own: "Tensor | None") -> bool:
    return given is not None and own is not None and given.shape == own.shape


# Opening


def open_exported(folder: Path) -> tuple[TaskModule, TaskData]:
    """The task of an exported folder with its weights, and the data module that encodes rows for it.

    Raises:
        UserError: The folder is not whole, or the base of an adapter is no longer where it was.
    """
    about = read_json(folder / ABOUT)
    try:
        kind, task_arguments, data_arguments = about["kind"], about["task"], about["data"]
    except KeyError as error:
        raise UserError(f"{folder / ABOUT} has no {error}; export the run again") from None
    task, data = build(TaskModule, _located(task_arguments, folder)), build(TaskData, _located(data_arguments, folder))
    _load_beside(task, kind, folder)
    if kind == "adapter":
        load_adapter(task, folder)
    if (folder / TARGETS).is_dir():  # the decoder of two joined models has its own
        task.tokenizer = AutoTokenizer.from_pretrained(str(folder / TARGETS))
    return task, data


def _located(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    here = [name for name in ("backbone", "template") if str(arguments.get(name)).startswith(HERE)]
    return {**arguments, **{name: arguments[name].replace(HERE, str(folder.resolve())) for name in here}}

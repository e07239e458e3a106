"""The format of exported folders: write and load their parts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ftlit.data.shared.base import TaskData
from ftlit.exports.compress.int8 import load_int8
from ftlit.exports.onnx.generation.model import open_graph
from ftlit.exports.program.runtime import Program
from ftlit.exports.traced.model import GraphModel
from ftlit.models.checks.files import naming_damaged_files
from ftlit.runs.checkpoint import read_checkpoint
from ftlit.runs.exported import (
    BACKBONE,
    GGUF,
    HEAD_FILE,
    METADATA_FILE,
    PROGRAM,
    Kind,
    load_exported,
    read_metadata,
    separate_weights,
)
from ftlit.runs.opening import build
from ftlit.tasks import TaskModule
from ftlit.util.options import KEEP, THIS_FOLDER, options_of

Opened = Callable[[], tuple[TaskModule, TaskData]]  # opens an exported folder
COMPUTES, HALF = "computes", ("float16", "bfloat16")  # key of the metadata: the data type in which the model computes

# Arguments that are used in training only, since the files and models that they name may no longer exist.
TRAINING_ONLY, TRAINING_ONLY_DATA = (
    {name: option.exported for name, option in options_of(section).items() if option.exported is not KEEP}
    for section in ("model", "data")
)
MERGED, MERGED_DATA = (
    {name: option.merged for name, option in options_of(section).items() if option.merged is not KEEP}
    for section in ("model", "data")
)


def export_arguments(checkpoint: dict[str, Any], kind: Kind, data: TaskData, scaled: bool = False) -> dict[str, Any]:
    """Return the hyper-parameters of ``task`` and ``data`` with which a folder is loaded.

    Args:
        checkpoint: Checkpoint of the run.
        kind: Kind of the folder.
        data: Data module of the run.
        scaled: Whether the model of a regression returns the target in its own unit.
    """
    found: dict[str, Any] = {"max_length": data.max_length}
    if getattr(data, "label_names", None):
        found["label_names"] = checkpoint["hyper_parameters"]["label_names"]
    if hasattr(data, "chat_template"):
        found |= {"template": f"{THIS_FOLDER}/chat_template.jinja", "add_bos": False}  # which the template does, if it is done
    base = {"backbone": _absolute(data.backbone)}
    task_changes, data_changes = (base, base) if kind == "adapter" else (MERGED, MERGED_DATA)
    if kind in ("own_head", "backbone"):
        inside = {"backbone": f"{THIS_FOLDER}/{BACKBONE}"}
        task_changes, data_changes = {**MERGED, **inside, "pretrained": kind == "backbone"}, {**MERGED_DATA, **inside}
    if kind in ("onnx", "torch"):
        task_changes = {**MERGED, "pretrained": False}
    if kind == "gguf":
        inside = {"backbone": f"{THIS_FOLDER}/{GGUF}"}
        task_changes, data_changes = {**MERGED, **inside}, {**MERGED_DATA, **inside}
    if scaled:
        task_changes = {**task_changes, "label_scale": [0.0, 1.0]}
    return {
        "task": _override(checkpoint["hyper_parameters"], TRAINING_ONLY, task_changes),
        "data": _override(checkpoint["datamodule_hyper_parameters"], TRAINING_ONLY_DATA, data_changes, found),
    }


def _absolute(backbone: str) -> str:
    path = Path(backbone).expanduser()
    return str(path.resolve()) if path.exists() else backbone


def _override(arguments: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    """Override existing hyper-parameters; changes to others are ignored."""
    merged = {name: value for change in changes for name, value in change.items()}
    return {name: merged.get(name, value) for name, value in arguments.items() if name != "_instantiator"}


def stored_data(checkpoint: Path, trust_remote_code: bool = False) -> TaskData:
    """Build the data module of a checkpoint, without what is used in training only.

    Raises:
        UserError: If the file is not a checkpoint of ftlit, or it names a class that the user has not trusted.
    """
    arguments = read_checkpoint(checkpoint).get("datamodule_hyper_parameters") or {}
    return build(TaskData, _override(arguments, TRAINING_ONLY_DATA), checkpoint, trust_remote_code)


# Weights that are not in the file of the model or the adapter


def save_separate_weights(task: TaskModule, kind: Kind, folder: Path) -> None:
    """Save the weights that no other file of the folder contains, if there are any."""
    state = task.state_dict()
    weights = {name: state[key].detach().cpu().clone().contiguous() for name, key in separate_weights(task, kind).items()}
    if weights or kind in ("backbone", "adapter"):
        save_file(weights, folder / HEAD_FILE, metadata={"format": "pt"})


# Loading


@naming_damaged_files(lambda folder, *others: folder)
def open_exported(folder: Path, trust_remote_code: bool = False) -> tuple[TaskModule, TaskData]:
    """Load the task of an exported folder and the data module that encodes its inputs.

    Args:
        folder: The exported folder.
        trust_remote_code: Whether to run code that comes with the model.

    Raises:
        UserError: If the folder is incomplete, or the base model of an adapter cannot be found.
    """
    metadata = read_metadata(folder)
    task = load_exported(folder, metadata, trust_remote_code, _opener(folder, metadata["kind"], trust_remote_code))
    if metadata["kind"] == "int8":
        task.model = load_int8(task.model, folder)
    if metadata.get(COMPUTES) in HALF:
        task.model.to(getattr(torch, metadata[COMPUTES]))
    data = build(TaskData, metadata["data"], folder / METADATA_FILE, trust_remote_code)
    return task, data


def _opener(folder: Path, kind: Kind, trust_remote_code: bool) -> Callable[[Any], Any] | None:
    """Return what opens that which was traced from the model of a folder; None if the folder has its weights."""
    if kind == "onnx":
        return partial(open_graph, folder)
    return partial(GraphModel, Program(folder / PROGRAM, trust_remote_code)) if kind == "torch" else None

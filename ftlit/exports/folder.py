"""The format of exported folders: write and load their parts."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from safetensors.torch import load_file, save_file

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.adapters import adapter_keys, load_adapter, plain_name
from ftlit.exports.onnx.runtime import GRAPH, OnnxModel
from ftlit.models.backbones import without_weights
from ftlit.models.checks.files import naming_damaged_files
from ftlit.models.encoder_decoder import decoder_tokenizer
from ftlit.runs.checkpoint import read_checkpoint, trained_keys
from ftlit.runs.opening import build
from ftlit.tasks import TaskModule
from ftlit.util.files import damaged, read_json
from ftlit.util.options import KEEP, THIS_FOLDER, options_of

if TYPE_CHECKING:
    from torch import Tensor

# The kinds of folders: a `model` of transformers; a model whose head is an `own_head` of ftlit, with the head's code; a
# `backbone` in a folder of its own, beside a head of the user; a peft `adapter` with the other trained weights; a graph of
# `onnx`, in which all weights are.
Kind = Literal["model", "own_head", "backbone", "adapter", "onnx"]
BACKBONE = "backbone"  # folder of a backbone's configuration, tokenizer and weights, or without the weights for an `own_head`
METADATA_FILE, HEAD_FILE, TARGET_TOKENIZER = "ftlit.json", "head.safetensors", "target_tokenizer"
# Arguments that are used in training only, since the files and models that they name may no longer exist.
TRAINING_ONLY, TRAINING_ONLY_DATA = (
    {name: option.exported for name, option in options_of(section).items() if option.exported is not KEEP}
    for section in ("model", "data")
)
MERGED, MERGED_DATA = (
    {name: option.merged for name, option in options_of(section).items() if option.merged is not KEEP}
    for section in ("model", "data")
)


def is_exported(folder: Path) -> bool:
    """Whether a folder is an export."""
    return (folder / METADATA_FILE).is_file()


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
    if kind == "onnx":
        task_changes = {**MERGED, "pretrained": False}
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


def separate_weights(task: TaskModule, kind: Kind) -> dict[str, str]:
    """Map the names of the weights in ``head.safetensors`` to their names in the task's state dict.

    The head of an auxiliary loss is not exported.
    """
    keys = set(task.state_dict())
    prefix = _backbone_prefix(task)
    if kind == "adapter":
        keys = trained_keys(task) - adapter_keys(task)
    elif kind == "backbone":
        keys = {key for key in keys if not key.startswith(prefix)}
    else:
        keys = {key for key in keys if not key.startswith("model.")}
    kept = [key for key in sorted(keys) if key.split(".")[0] not in ("evaluators", "self_supervision")]
    return {_separate_name(key, prefix): key for key in kept}


def _backbone_prefix(task: TaskModule) -> str:
    name = task.model.base_model_prefix
    return f"model.{name}." if hasattr(task.model, name) else "model."


def _separate_name(key: str, prefix: str) -> str:
    if key.startswith(prefix):
        return f"backbone.{plain_name(key.removeprefix(prefix))}"
    return key.removeprefix("model.") if key.startswith("model.") else f"task.{key}"


def save_separate_weights(task: TaskModule, kind: Kind, folder: Path) -> None:
    """Save the weights that no other file of the folder contains, if there are any."""
    state = task.state_dict()
    weights = {name: state[key].detach().cpu().clone().contiguous() for name, key in separate_weights(task, kind).items()}
    if weights or kind in ("backbone", "adapter"):
        save_file(weights, folder / HEAD_FILE, metadata={"format": "pt"})


def _load_separate_weights(task: TaskModule, kind: Kind, folder: Path) -> None:
    file, state = folder / HEAD_FILE, task.state_dict()
    weights: dict[str, Tensor] = load_file(file) if file.is_file() else {}
    names = separate_weights(task, kind)
    if kind == "own_head":  # all weights are in the files of the model
        for part in sorted(folder.glob("model*.safetensors")):
            weights |= load_file(part)
        prefix, own = _backbone_prefix(task), [key for key in state if key.startswith("model.")]
        names |= {_separate_name(key, prefix): key for key in own}
    wrong = [name for name in names.keys() | weights.keys() if not _fits(weights.get(name), state.get(names.get(name, "")))]
    if wrong:
        raise UserError(
            f"{file} does not match {folder / METADATA_FILE}: {len(wrong)} weights, such as {min(wrong)}; export the run again"
        )
    with torch.no_grad():
        for name, key in names.items():
            state[key].copy_(weights[name])


def _fits(given: "Tensor | None", own: "Tensor | None") -> bool:
    return given is not None and own is not None and given.shape == own.shape


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
    metadata = read_json(folder / METADATA_FILE)
    try:
        kind, task_arguments, data_arguments = metadata["kind"], metadata["task"], metadata["data"]
    except KeyError as error:
        raise UserError(f"{folder / METADATA_FILE} has no {error}; export the run again") from None
    if kind not in get_args(Kind) or not isinstance(task_arguments, dict) or not isinstance(data_arguments, dict):
        raise damaged(folder / METADATA_FILE, "it does not describe an exported run")
    with without_weights() if kind == "onnx" else nullcontext():
        task = build(TaskModule, _resolve_folder(task_arguments, folder), folder / METADATA_FILE, trust_remote_code)
    data = build(TaskData, _resolve_folder(data_arguments, folder), folder / METADATA_FILE, trust_remote_code)
    if kind == "onnx":
        task.model = OnnxModel(folder / GRAPH, task.model)
    _load_separate_weights(task, kind, folder)
    if kind == "adapter":
        load_adapter(task, folder)
    if (folder / TARGET_TOKENIZER).is_dir():  # of a separate decoder
        task.tokenizer = decoder_tokenizer(str(folder / TARGET_TOKENIZER), trust_remote_code)
    return task, data


def _resolve_folder(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    names = [name for name in ("backbone", "template") if str(arguments.get(name)).startswith(THIS_FOLDER)]
    return {**arguments, **{name: arguments[name].replace(THIS_FOLDER, str(folder.resolve())) for name in names}}

"""The format of exported folders: write and load their parts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from lightning.pytorch.cli import instantiate_module
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedModel

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError, user_error
from ftlit.exports.adapters import adapter_keys, load_adapter, plain_name
from ftlit.models.files import naming_damaged_files
from ftlit.runs.checkpoint import trained_keys
from ftlit.tasks import TaskModule
from ftlit.util.files import damaged, read_json
from ftlit.util.options import KEEP, THIS_FOLDER, options_of

if TYPE_CHECKING:
    from torch import Tensor

# The three kinds of folders: a transformers `model`; a transformers model as `backbone` with a head of ftlit; a peft `adapter`
# with the other trained weights.
Kind = Literal["model", "backbone", "adapter"]
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


def data_for_export(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of a data module with defaults for those that are used in training only."""
    return _override(arguments, TRAINING_ONLY_DATA)


def export_arguments(checkpoint: dict[str, Any], kind: Kind, data: TaskData) -> dict[str, Any]:
    """Return the hyper-parameters of ``task`` and ``data`` with which a folder is loaded.

    Args:
        checkpoint: Checkpoint of the run.
        kind: Kind of the folder.
        data: Data module of the run.
    """
    found: dict[str, Any] = {"max_length": data.max_length}
    if getattr(data, "label_names", None):
        found["label_names"] = checkpoint["hyper_parameters"]["label_names"]
    if hasattr(data, "chat_template"):
        found |= {"template": f"{THIS_FOLDER}/chat_template.jinja", "add_bos": False}  # which the template does, if it is done
    base = {"backbone": _absolute(data.backbone)}
    task_changes, data_changes = (base, base) if kind == "adapter" else (MERGED, MERGED_DATA)
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


def build(kind: Any, arguments: dict[str, Any]) -> Any:
    """Instantiate a task or data module from the hyper-parameters in a checkpoint or an exported folder.

    Raises:
        UserError: If the class raises it.
    """
    try:
        return instantiate_module(kind, arguments)
    except ValueError as error:  # with which jsonargparse wraps errors of the class
        raise (user_error(error) or error) from None


# Weights that are not in the file of the model or the adapter


def separate_weights(task: TaskModule, kind: Kind) -> dict[str, str]:
    """Map the names of the weights in ``head.safetensors`` to their names in the task's state dict.

    The head of an auxiliary loss is not exported.
    """
    keys = set(task.state_dict())
    prefix = _backbone_prefix(task)
    if kind == "adapter":
        keys = trained_keys(task) - adapter_keys(task)
    else:
        in_model = "model." if isinstance(task.model, PreTrainedModel) else prefix
        keys = {key for key in keys if not key.startswith(in_model)}
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
    if weights or kind != "model":
        save_file(weights, folder / HEAD_FILE, metadata={"format": "pt"})


def _load_separate_weights(task: TaskModule, kind: Kind, folder: Path) -> None:
    file, state = folder / HEAD_FILE, task.state_dict()
    weights: dict[str, Tensor] = load_file(file) if file.is_file() else {}
    names = separate_weights(task, kind)
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


@naming_damaged_files(lambda folder: folder)
def open_exported(folder: Path) -> tuple[TaskModule, TaskData]:
    """Load the task of an exported folder and the data module that encodes its inputs.

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
    task, data = (
        build(TaskModule, _resolve_folder(task_arguments, folder)),
        build(TaskData, _resolve_folder(data_arguments, folder)),
    )
    _load_separate_weights(task, kind, folder)
    if kind == "adapter":
        load_adapter(task, folder)
    if (folder / TARGET_TOKENIZER).is_dir():  # of a separate decoder
        task.tokenizer = AutoTokenizer.from_pretrained(str(folder / TARGET_TOKENIZER))
    return task, data


def _resolve_folder(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    names = [name for name in ("backbone", "template") if str(arguments.get(name)).startswith(THIS_FOLDER)]
    return {**arguments, **{name: arguments[name].replace(THIS_FOLDER, str(folder.resolve())) for name in names}}

"""Load the tasks of exported folders, and of any folder that holds a trained task."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from lightning import LightningModule
from safetensors.torch import load_file
from torch import nn

from ftlit.errors import UserError
from ftlit.models.backbones import check_adapter_config, without_weights
from ftlit.models.checks.files import naming_damaged_files
from ftlit.models.encoder_decoder import decoder_tokenizer
from ftlit.runs.checkpoint import find_checkpoint, load_task, trained_keys
from ftlit.runs.opening import build
from ftlit.tuning.prompted_backbone import PromptedBackbone
from ftlit.util.files import damaged, read_json
from ftlit.util.options import THIS_FOLDER

if TYPE_CHECKING:
    from torch import Tensor

# The kinds of folders: a `model` of transformers; a model whose head is an `own_head` of ftlit, with the head's code; a
# `backbone` in a folder of its own, beside a head of the user; a peft `adapter` with the other trained weights; a graph of
# `onnx`, in which all weights are; a model for PyTorch with weights of 8 bits, `int8`; a language model for llama.cpp, `gguf`;
# a program of torch.export, `torch`.
Kind = Literal["model", "own_head", "backbone", "adapter", "onnx", "int8", "gguf", "torch"]
ONLY_PREDICT: dict[Kind, str] = {
    "onnx": "a graph of ONNX",
    "int8": "weights of 8 bits",
    "gguf": "a file in GGUF",
    "torch": "a program of torch.export",
}
BACKBONE = "backbone"  # folder of a backbone's configuration, tokenizer and weights, or without the weights for an `own_head`
METADATA_FILE, HEAD_FILE, TARGET_TOKENIZER = "ftlit.json", "head.safetensors", "target_tokenizer"
ADAPTER_WEIGHTS, GGUF, PROGRAM, EXAMPLE = "adapter_model.safetensors", "model.gguf", "model.pt2", "example.py"
# Parts of weight names that are added by wrappers: the model and layers of peft, and PromptedBackbone.
WRAPPERS = re.compile(r"^base_model\.model\.|^base\.|(?<=\.)base_layer\.")


def is_exported(folder: Path) -> bool:
    """Whether a folder is an export."""
    return (folder / METADATA_FILE).is_file()


@naming_damaged_files(lambda folder, *others: folder)
def trained_task(folder: Path, trust_remote_code: bool = False) -> Any:
    """Load the task of a finished run or of an exported folder.

    Args:
        folder: The folder.
        trust_remote_code: Whether to run code that comes with the backbone.

    Raises:
        UserError: It holds neither, or it cannot be loaded.
    """
    if is_exported(folder):
        metadata = read_metadata(folder)
        if held := ONLY_PREDICT.get(metadata["kind"]):
            raise UserError(f"{folder} holds {held}, which only predicts; name the run, or an export of another format")
        return load_exported(folder, metadata, trust_remote_code)
    return load_task(find_checkpoint(folder), trust_remote_code)


def read_metadata(folder: Path) -> dict[str, Any]:
    """The content of ``ftlit.json``: the `kind` of the folder, and the arguments of its `task` and its `data`.

    Raises:
        UserError: If something is missing.
    """
    metadata = read_json(folder / METADATA_FILE)
    if missing := [name for name in ("kind", "task", "data") if name not in metadata]:
        raise UserError(f"{folder / METADATA_FILE} has no {missing[0]!r}; export the run again")
    whole = isinstance(metadata["task"], dict) and isinstance(metadata["data"], dict)
    if metadata["kind"] not in get_args(Kind) or not whole:
        raise damaged(folder / METADATA_FILE, "it does not describe an exported run")
    return {**metadata, **{part: _in_folder(metadata[part], folder) for part in ("task", "data")}}


def _in_folder(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    names = [name for name in ("backbone", "template") if str(arguments.get(name)).startswith(THIS_FOLDER)]
    return {**arguments, **{name: arguments[name].replace(THIS_FOLDER, str(folder.resolve())) for name in names}}


def load_exported(
    folder: Path, metadata: dict[str, Any], trust_remote_code: bool = False, graph: Callable[[Any], nn.Module] | None = None
) -> Any:
    """Load the task of an exported folder.

    Args:
        folder: The exported folder.
        metadata: What `read_metadata` returned.
        trust_remote_code: Whether to run code that comes with the model.
        graph: Makes the graph of the folder take the place of a model without weights; None if the folder has no graph.

    Raises:
        UserError: If the folder is incomplete, or the base model of an adapter cannot be found.
    """
    with without_weights() if graph else nullcontext():
        task = build(LightningModule, metadata["task"], folder / METADATA_FILE, trust_remote_code)
    if graph:
        task.model = graph(task.model)
    _load_separate_weights(task, metadata["kind"], folder)
    if metadata["kind"] == "adapter":
        load_adapter(task, folder)
    if (folder / TARGET_TOKENIZER).is_dir():  # of a separate decoder
        task.tokenizer = decoder_tokenizer(str(folder / TARGET_TOKENIZER), trust_remote_code)
    return task


# Weights that are not in the file of the model or the adapter


def separate_weights(task: Any, kind: Kind) -> dict[str, str]:
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


def _backbone_prefix(task: Any) -> str:
    name = task.model.base_model_prefix
    return f"model.{name}." if hasattr(task.model, name) else "model."


def _separate_name(key: str, prefix: str) -> str:
    if key.startswith(prefix):
        return f"backbone.{plain_name(key.removeprefix(prefix))}"
    return key.removeprefix("model.") if key.startswith("model.") else f"task.{key}"


def _load_separate_weights(task: Any, kind: Kind, folder: Path) -> None:
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


# Adapters


def plain_name(name: str) -> str:
    """Return the name of a backbone's weight without the prefixes of wrappers."""
    return WRAPPERS.sub("", name)


def find_adapter(task: Any) -> Any:
    """Return the part of the backbone that can be saved as a peft adapter, or None."""
    from peft import PeftModel

    backbone = task.backbone
    if isinstance(backbone, PromptedBackbone):
        return None if isinstance(backbone.base, PeftModel) else backbone
    return backbone if isinstance(backbone, PeftModel) else None


def adapter_keys(task: Any) -> set[str]:
    """Names, in the task's state dict, of the weights that are in the adapter's own file."""
    adapter = find_adapter(task)
    if isinstance(adapter, PromptedBackbone):
        own = {id(weight) for weight in adapter.prompt.state_dict(keep_vars=True).values()}
    else:
        # Names of peft end with the adapter's name, or contain it before the last component.
        weights = adapter.state_dict(keep_vars=True)
        own = {id(weight) for name, weight in weights.items() if "default" in name.split(".")[-2:]}
    return {name for name, weight in task.state_dict(keep_vars=True).items() if id(weight) in own}


def load_adapter(task: Any, folder: Path) -> None:
    """Load the adapter of a folder into a task with the same tuning method.

    Raises:
        UserError: If the folder holds the adapter of another method.
    """
    check_adapter_config(folder)
    adapter, weights = find_adapter(task), load_file(folder / ADAPTER_WEIGHTS)
    if isinstance(adapter, PromptedBackbone):  # the network that generated the vectors is no longer needed
        adapter.prompt = nn.Embedding.from_pretrained(weights["prompt_embeddings"])
        return
    from peft import PeftConfig, set_peft_model_state_dict

    own, given = adapter.peft_config["default"], PeftConfig.from_pretrained(str(folder))
    if hasattr(given, "rank_pattern"):  # the ranks that AdaLoRA allocated
        own.rank_pattern = given.rank_pattern
    result: Any = set_peft_model_state_dict(adapter, weights)
    if result.unexpected_keys:
        raise UserError(f"{folder / ADAPTER_WEIGHTS} contains weights that do not belong to model.tuning {task.tuning}")

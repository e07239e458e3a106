"""Save adapters as folders that `peft.PeftModel.from_pretrained` loads onto the backbone, and load them again."""

import copy
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ftlit.errors import UserError
from ftlit.heads import EncoderDecoderHead
from ftlit.models.backbones import check_adapter_config, locate
from ftlit.tuning.peft_base import adapter_weights
from ftlit.tuning.prompted_backbone import PromptedBackbone
from ftlit.util.hub import commit_of, unpinned

if TYPE_CHECKING:
    from ftlit.tasks import TaskModule

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KEEP_RUN = "keep the run folder and use `ftlit predict`"
# Parts of weight names that are added by wrappers: the model and layers of peft, and PromptedBackbone.
WRAPPERS = re.compile(r"^base_model\.model\.|^base\.|(?<=\.)base_layer\.")


def plain_name(name: str) -> str:
    """Return the name of a backbone's weight without the prefixes of wrappers."""
    return WRAPPERS.sub("", name)


def find_adapter(task: "TaskModule") -> Any:
    """Return the part of the backbone that can be saved as a peft adapter, or None."""
    from peft import PeftModel

    backbone = task.backbone
    if isinstance(backbone, PromptedBackbone):
        return None if isinstance(backbone.base, PeftModel) else backbone
    return backbone if isinstance(backbone, PeftModel) else None


def check_adapter(task: "TaskModule") -> None:
    """Check that the adapter of a task can be exported and has the same outputs in peft.

    Raises:
        UserError: If it cannot, with the alternative.
    """
    from peft import PeftModel

    kind, backbone = type(task.tuning).__name__, task.backbone
    prompt = next((part for part in backbone.modules() if isinstance(part, PromptedBackbone)), None)
    merged = KEEP_RUN if prompt is not None else "remove --adapter-only"
    if prompt is not None and prompt is not backbone:
        raise UserError(
            f"--adapter-only: model.tuning {kind} adds its prompt only to the encoder, but peft would show it to the decoder "
            f"too; {KEEP_RUN}"
        )
    if prompt is not None and isinstance(prompt.base, PeftModel):
        raise UserError(f"--adapter-only: model.tuning {kind} has two adapters, but a peft folder holds one; {KEEP_RUN}")
    if find_adapter(task) is None:
        bottlenecks = any(hasattr(part, "adapter") for part in backbone.modules())  # not supported by peft, nor merged
        remedy = KEEP_RUN if bottlenecks else merged
        raise UserError(f"--adapter-only needs a peft adapter, but model.tuning {kind} has none; {remedy}")
    if isinstance(task.head, EncoderDecoderHead):
        raise UserError(f"--adapter-only: model.decoder combines two models, but an adapter has only one base model; {merged}")
    if task.init_from is not None:
        raise UserError(
            f"--adapter-only: the frozen weights come from model.init_from {task.init_from!r} and differ from those of the "
            f"base model {task.hparams['backbone']!r}; {merged}"
        )


def adapter_keys(task: "TaskModule") -> set[str]:
    """Names, in the task's state dict, of the weights that are in the adapter's own file."""
    adapter = find_adapter(task)
    if isinstance(adapter, PromptedBackbone):
        own = {id(weight) for weight in adapter.prompt.state_dict(keep_vars=True).values()}
    else:
        # Names of peft end with the adapter's name, or contain it before the last component.
        weights = adapter.state_dict(keep_vars=True)
        own = {id(weight) for name, weight in weights.items() if "default" in name.split(".")[-2:]}
    return {name for name, weight in task.state_dict(keep_vars=True).items() if id(weight) in own}


def base_model_name(task: "TaskModule") -> str:
    """Return the base model as an argument of `from_pretrained`: a hub name, or the path of a folder."""
    found = locate(task.hparams["backbone"])
    return str(Path(found).resolve()) if Path(found).is_dir() else found


@torch.no_grad()
def save_adapter(task: "TaskModule", folder: Path) -> None:
    """Save the adapter of a task in the format of peft."""
    adapter, backbone = find_adapter(task), task.hparams["backbone"]
    revision = commit_of(backbone) or unpinned(backbone)[1]
    if not isinstance(adapter, PromptedBackbone):
        adapter.peft_config["default"].base_model_name_or_path = base_model_name(task)
        adapter.peft_config["default"].revision = revision
        _save_peft_adapter(adapter, folder)
        return
    config = copy.deepcopy(adapter.prompt_config)
    config.base_model_name_or_path, config.inference_mode = base_model_name(task), True
    config.revision = revision
    config.save_pretrained(str(folder))
    vectors = adapter.prompt_vectors(1)[0].contiguous().cpu().clone()
    save_file({"prompt_embeddings": vectors}, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def _save_peft_adapter(adapter: Any, folder: Path) -> None:
    """Save an adapter of peft, as a change of the pretrained weights if the method has changed them at its start."""
    with TemporaryDirectory() as place:
        start, initial = None, getattr(adapter, "initial_adapter", None)
        if initial is not None:
            start = Path(place) / "initial"
            start.mkdir()
            save_file({name: weight.cpu() for name, weight in initial.items()}, start / ADAPTER_WEIGHTS)
        adapter.save_pretrained(
            str(folder), save_embedding_layers=False, path_initial_model_for_weight_conversion=start and str(start)
        )
    if initial is not None:  # the conversion leaves out the magnitudes of DoRA
        file = folder / ADAPTER_WEIGHTS
        others = {name: weight.cpu() for name, weight in adapter_weights(adapter).items() if "lora_magnitude" in name}
        save_file(load_file(file) | others, file, metadata={"format": "pt"})


def load_adapter(task: "TaskModule", folder: Path) -> None:
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

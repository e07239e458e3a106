"""Adapters as folders that `peft.PeftModel.from_pretrained` opens on the backbone."""

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ftlit.errors import UserError
from ftlit.heads import EncoderDecoderHead
from ftlit.models.backbones import locate
from ftlit.tuning.prompted_backbone import PromptedBackbone

if TYPE_CHECKING:
    from ftlit.tasks import TaskModule

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
STAY = "keep the run folder and use `ftlit predict`"
# What wrappers put into the names of weights: peft's model and layers, and learned tokens before the text.
WRAPPERS = re.compile(r"^base_model\.model\.|^base\.|(?<=\.)base_layer\.")


def plain_name(name: str) -> str:
    """The name that a backbone's weight has where no tuning method wraps it."""
    return WRAPPERS.sub("", name)


def adapter_of(task: "TaskModule") -> Any:
    """What of a task's backbone peft can open: its own model, or learned tokens; None where there is none."""
    from peft import PeftModel

    backbone = task.backbone
    if isinstance(backbone, PromptedBackbone):
        return None if isinstance(backbone.base, PeftModel) else backbone
    return backbone if isinstance(backbone, PeftModel) else None


def require_adapter(task: "TaskModule") -> None:
    """Refuse a task whose adapter would not be the same on its base in peft.

    Raises:
        UserError: With what to do instead.
    """
    from peft import PeftModel

    kind, backbone = type(task.tuning).__name__, task.backbone
    prompt = next((part for part in backbone.modules() if isinstance(part, PromptedBackbone)), None)
    merged = STAY if prompt is not None else "leave --adapter-only out"
    if prompt is not None and prompt is not backbone:
        raise UserError(
            f"--adapter-only: model.tuning {kind} puts its tokens before the text of the encoder alone, and peft shows them to "
            f"the decoder too; {STAY}"
        )
    if prompt is not None and isinstance(prompt.base, PeftModel):
        raise UserError(f"--adapter-only: model.tuning {kind} has two adapters, and a folder of peft holds one; {STAY}")
    if adapter_of(task) is None:
        changed = any(hasattr(part, "adapter") for part in backbone.modules())  # bottlenecks, of which peft knows nothing
        what = STAY if changed else merged
        raise UserError(f"--adapter-only needs an adapter of peft, and model.tuning {kind} has none; {what}")
    if isinstance(task.head, EncoderDecoderHead):
        raise UserError(f"--adapter-only: model.decoder joins two models, and no folder holds both as the base; {merged}")
    if task.init_from is not None:
        raise UserError(
            f"--adapter-only: the frozen weights come from model.init_from {task.init_from!r}, and the base "
            f"{task.hparams['backbone']!r} has others; {merged}"
        )


def adapter_keys(task: "TaskModule") -> set[str]:
    """Names in the task's state dict of the weights that the adapter's own file holds."""
    adapter = adapter_of(task)
    if isinstance(adapter, PromptedBackbone):
        own = {id(weight) for weight in adapter.prompt.state_dict(keep_vars=True).values()}
    else:
        # peft's names end in the adapter's name, or have it before the last part.
        weights = adapter.state_dict(keep_vars=True)
        own = {id(weight) for name, weight in weights.items() if "default" in name.split(".")[-2:]}
    return {name for name, weight in task.state_dict(keep_vars=True).items() if id(weight) in own}


def base_name(task: "TaskModule") -> str:
    """The base as `from_pretrained` finds it: a hub name, or the path of a folder."""
    found = locate(task.hparams["backbone"])
    return str(Path(found).resolve()) if Path(found).is_dir() else found


@torch.no_grad()
def save_adapter(task: "TaskModule", folder: Path) -> None:
    """Write the adapter of a task as peft does."""
    adapter = adapter_of(task)
    if not isinstance(adapter, PromptedBackbone):
        adapter.peft_config["default"].base_model_name_or_path = base_name(task)
        adapter.save_pretrained(str(folder), save_embedding_layers=False)
        return
    config = copy.deepcopy(adapter.prompt_config)
    config.base_model_name_or_path, config.inference_mode = base_name(task), True
    config.save_pretrained(str(folder))
    vectors = adapter.prompt_vectors(1)[0].contiguous().cpu().clone()
    save_file({"prompt_embeddings": vectors}, folder / WEIGHTS, metadata={"format": "pt"})


def load_adapter(task: "TaskModule", folder: Path) -> None:
    """Give a task that was built with the same tuning method the adapter of a folder.

    Raises:
        UserError: The folder holds another one.
    """
    adapter, weights = adapter_of(task), load_file(folder / WEIGHTS)
    if isinstance(adapter, PromptedBackbone):  # what made the vectors is no longer needed
        adapter.prompt = nn.Embedding.from_pretrained(weights["prompt_embeddings"])
        return
    from peft import PeftConfig, set_peft_model_state_dict

    own, given = adapter.peft_config["default"], PeftConfig.from_pretrained(str(folder))
    if hasattr(given, "rank_pattern"):  # AdaLoRA has dealt out its ranks
        own.rank_pattern = given.rank_pattern
    result: Any = set_peft_model_state_dict(adapter, weights)
    if result.unexpected_keys:
        raise UserError(f"{folder / WEIGHTS} has weights that do not belong to model.tuning {task.tuning}")

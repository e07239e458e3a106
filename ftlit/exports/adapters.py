"""Save adapters as folders that `peft.PeftModel.from_pretrained` loads onto the backbone."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from ftlit.errors import UserError
from ftlit.heads import EncoderDecoderHead
from ftlit.models.backbones import locate
from ftlit.runs.exported import ADAPTER_WEIGHTS, find_adapter
from ftlit.tuning.peft_base import adapter_weights
from ftlit.tuning.prompted_backbone import PromptedBackbone
from ftlit.util.hub import commit_of, unpinned

if TYPE_CHECKING:
    from ftlit.tasks import TaskModule

KEEP_RUN = "keep the run folder and use `ftlit predict`"


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
    if task.keep_layers is not None:
        raise UserError(f"--adapter-only: model.keep_layers leaves out layers that the base model has; {merged}")


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

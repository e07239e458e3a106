"""Models of transformers for a task whose head transformers lacks, or whose outputs it would show in another unit."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftlit.errors import UserError
from ftlit.heads import EntityHead, PooledHead
from ftlit.models import own_heads
from ftlit.models.own_heads import OwnHeadConfig, OwnHeadModel
from ftlit.tasks import MultipleChoice, TaskModule, TextRegression

CODE = "modeling_ftlit"  # module of the head's code in an exported folder
FAR = 1000  # standard deviations from 0 at which a mean costs too many digits of float32


def has_own_head(task: TaskModule) -> bool:
    """Whether a task has a head of ftlit that can be exported with its code."""
    return type(task.head) in (PooledHead, EntityHead)  # not a subclass, whose model may be another


def own_head_model(task: TaskModule, markers: list[int]) -> OwnHeadModel:
    """Return the merged model of a task as a model of transformers, whose code is saved beside it.

    Args:
        task: The task, after its tuning method has been merged.
        markers: Ids of the tokens that mark both entities and their ends; empty if there are none.

    Raises:
        UserError: The backbone itself comes with its own code.
    """
    head: Any = task.head
    backbone = {name: value for name, value in task.backbone.config.to_dict().items() if name != "dtype"}  # type: ignore[union-attr, operator]
    if backbone.get("auto_map"):
        raise UserError(
            f"model.backbone {task.hparams['backbone']!r} comes with its own code, to which transformers cannot add the head "
            f"{type(head).__name__}; train with TaskHead, or keep the run folder and use `ftlit predict`"
        )
    config = OwnHeadConfig(
        backbone, head.pooling, getattr(head, "layers", 1), head.dropout, markers[::2], **task.model_config()
    )
    classes = [task.auto_class.__name__, *(["AutoModelForMultipleChoice"] if isinstance(task, MultipleChoice) else [])]
    auto_map = {"AutoConfig": f"{CODE}.OwnHeadConfig", **dict.fromkeys(classes, f"{CODE}.OwnHeadModel")}
    config.auto_map = auto_map  # type: ignore[attr-defined]
    model = OwnHeadModel(config)
    model.load_state_dict(task.model.state_dict())
    return model


def save_code(folder: Path) -> None:
    """Save the code of the head beside its weights."""
    shutil.copy(own_heads.__file__, folder / f"{CODE}.py")


def exported_scale(task: TaskModule, temperature: float = 1.0) -> tuple[float, float]:
    """What the logits of the exported model are: those of the task times the second number plus the first.

    A regression returns the target in its own unit. The logits of labels are divided by the temperature of a calibration. Where
    the last layer cannot do this, the numbers are 0 and 1.

    Args:
        task: The task.
        temperature: The temperature; 1 for a task without a calibration.
    """
    if _last_layer(task) is None:
        return 0.0, 1.0
    if not isinstance(task, TextRegression):
        return 0.0, 1 / temperature
    return (0.0, 1.0) if abs(task.mean) > FAR * task.deviation else (task.mean, task.deviation)


@torch.no_grad()
def apply_scale(task: TaskModule, mean: float, deviation: float) -> None:
    """Let the last layer return the logits of `exported_scale`, as pipelines show them."""
    layer = _last_layer(task)
    if layer is not None and (mean, deviation) != (0.0, 1.0):
        layer.weight.mul_(deviation)
        if layer.bias is not None:
            layer.bias.mul_(deviation).add_(mean)


def _last_layer(task: TaskModule) -> nn.Linear | None:
    """The layer that returns the logits; for regression, it must have a bias."""
    inside = {id(part) for part in task.backbone.modules()}
    layers = [part for part in task.model.modules() if isinstance(part, nn.Linear) and id(part) not in inside]
    outputs = len(getattr(task, "label_names", None) or [0])
    if not layers or layers[-1].out_features != outputs or (isinstance(task, TextRegression) and layers[-1].bias is None):
        return None
    return layers[-1]

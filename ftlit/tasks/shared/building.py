"""Build a task's model: backbone and head, weights of an earlier run, added tokens, tuning method, and auxiliary loss."""

import re
from abc import ABCMeta
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from ftlit.errors import UserError
from ftlit.heads import PooledHead, TaskHead
from ftlit.models.backbones import load_config, load_model, load_tokenizer
from ftlit.models.embeddings import extend_embeddings, extend_head
from ftlit.models.gradient_checkpointing import checkpoint_layers
from ftlit.models.positions import positions_follow_padding
from ftlit.models.weights import keep_unused, unused_weights
from ftlit.tasks.shared.init_from import initialise
from ftlit.tuning import Frozen
from ftlit.tuning.base import always_train, is_scheduled, is_trainable
from ftlit.util.arguments.checked import CheckedArguments
from ftlit.util.plain import plain

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule

UNNAMED = re.compile(r"LABEL_(\d+)")  # what transformers calls labels without names


class ConfiguredAfterInit(CheckedArguments, ABCMeta):
    """Calls `configure_model` after the `__init__` of a task, so that subclasses can set attributes after `super().__init__`.

    The model is built then rather than by the trainer, so that errors are raised before anything is written, and so that new
    weights are the same with and without a trainer, and on every device.
    """

    config_key = "model"

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        task = super().__call__(*args, **kwargs)
        task.configure_model()
        return task


def build_model(task: "TaskModule") -> None:
    """Build the task's model, and freeze all weights except the new ones and those that the tuning method chooses.

    Raises:
        UserError: The backbone, the head, the tuning method and the earlier run do not fit together.
    """
    config = task.model_config()
    trust = task.hparams["trust_remote_code"]
    if task.pad_token_id is not None and not _keeps_padding(task.hparams["backbone"], trust):
        config["pad_token_id"] = task.pad_token_id
    load = partial(load_model, backbone=task.hparams["backbone"], trust_remote_code=trust, dropout=task.dropout)
    with torch.device("meta"):
        skeleton: Any = task.head.build(partial(load, pretrained=False), task.auto_class, config)[0]
    load = partial(load, pretrained=task.pretrained, loading=_check_tuning(task, skeleton))
    task.model, fresh = task.head.build(load, task.auto_class, config)
    fresh = keep_unused(task.model, unused_weights(skeleton), fresh)
    fresh = match_labels(task, fresh)
    if note := head_note(task, fresh):
        task.notes.append(note)
    added: list[Tensor] = []
    if task.init_from is not None:
        fresh, added = _initialise(task, load, fresh, config)
    if task.added_tokens:
        fresh = [*fresh, *_extend(task, added)]
    embedding: Any = task.backbone.get_input_embeddings().weight if task.auxiliary else None  # type: ignore[operator]
    _apply_tuning(task, fresh)
    if task.hparams["gradient_checkpointing"]:
        checkpoint_layers(task.backbone)
    if task.auxiliary and task.auxiliary.weight:
        task.self_supervision = task.auxiliary.build(load, task.backbone, embedding, partial(_tokenizer, task))


def _keeps_padding(backbone: str, trust_remote_code: bool) -> bool:
    """Whether the positions of the texts would move with the padding id of the configuration."""
    config = load_config(backbone, trust_remote_code)
    return config.pad_token_id is not None and positions_follow_padding(config)


def _check_tuning(task: "TaskModule", skeleton: Any) -> dict[str, Any]:
    """Check the tuning method on the model's layers before weights are loaded, and return its arguments for loading them."""
    prefix = skeleton.base_model_prefix
    task.tuning.check(getattr(skeleton, prefix, skeleton))
    parts = [(name, part) for name, part in skeleton.named_children() if name != prefix]
    if not hasattr(skeleton, prefix):  # T5's head is a linear layer beside its stacks
        parts = [(name, part) for name, part in parts if isinstance(part, nn.Linear)]
    return task.tuning.loading([name for name, _ in parts])


def _initialise(
    task: "TaskModule", load: Callable[..., Any], fresh: list[nn.Parameter], config: dict[str, Any]
) -> tuple[list[nn.Parameter], list[Tensor]]:
    """Copy weights from `init_from`; return the weights that are still new, and the earlier embeddings of added tokens."""
    pretrained = partial(load, pretrained=True)
    return initialise(
        task.model,
        fresh,
        str(task.init_from),
        task.hparams["backbone"],
        lambda folder: task.build_earlier(partial(pretrained, backbone=folder), config),
        type(task) if task.pretrained_head else None,
        task.hparams["trust_remote_code"],
    )


def _extend(task: "TaskModule", earlier: list[Tensor]) -> list[nn.Parameter]:
    """Add embeddings of the added tokens, with the values of an earlier run if it added the same number of tokens."""
    extras = [extend_embeddings(task.backbone, task.added_tokens)]
    if task.pretrained_head:
        extras.append(extend_head(task.model, task.added_tokens))
    for extra, known in zip(extras, earlier, strict=False):
        if known.shape == extra.shape:
            extra.data.copy_(known)
    return extras


def _apply_tuning(task: "TaskModule", fresh: list[nn.Parameter]) -> None:
    task.replace_backbone(task.tuning.apply(task.backbone))
    if task.pretrained_head and not task.tuning.tunes_pretrained_head:
        inside = {id(weight) for weight in task.backbone.parameters()}
        for weight in task.model.parameters():
            weight.requires_grad_(weight.requires_grad and id(weight) in inside)
    for weight in fresh:
        always_train(weight)
    if not any(is_trainable(weight) and not is_scheduled(weight) for weight in task.model.parameters()):
        raise UserError(
            f"model.tuning {task.tuning} leaves nothing to train: {type(task.model).__name__} has no new head, since its "
            "language model head is pretrained too; use Full, TopLayers or LoRA"
        )


def _tokenizer(task: "TaskModule") -> Any:
    return load_tokenizer(task.hparams["backbone"], trust_remote_code=task.hparams["trust_remote_code"])


# The default head, and the pretrained head of a backbone that is already a classifier


def set_default_head(task: "TaskModule") -> None:
    """Without a head, take that of transformers, or `PooledHead` where that would read a pooler that `Frozen` freezes.

    A pooler is trained for the task of its pretraining, such as the next sentence; its output is of little use to others.
    The hyper-parameters name the head from then on, since an export has another tuning method.
    """
    if task.head is not None:
        return
    task.head = PooledHead() if _probes_pooler(task) else TaskHead()
    task.hparams["head"] = plain(task.head) if "_instantiator" in task.hparams else task.head


def _probes_pooler(task: "TaskModule") -> bool:
    if not isinstance(task.tuning, Frozen) or task.auto_class is not AutoModelForSequenceClassification:
        return False
    with torch.device("meta"):
        backbone, trust = task.hparams["backbone"], task.hparams["trust_remote_code"]
        model: Any = load_model(task.auto_class, backbone, trust, pretrained=False)[0]
    encoder = getattr(model, model.base_model_prefix, model)
    return not model.config.is_encoder_decoder and getattr(encoder, "pooler", None) is not None


def head_note(task: "TaskModule", fresh: list[nn.Parameter]) -> str | None:
    """Return a sentence about a linear probe on a pooler that does not train, or None."""
    if not (isinstance(task.head, TaskHead) and _probes_pooler(task)):
        return None
    pooler, random = getattr(task.backbone, "pooler", None), {id(weight) for weight in fresh}
    if pooler is None or any(id(weight) in random for weight in pooler.parameters()):
        return None
    return (
        "model.head TaskHead reads the pooler, which model.tuning Frozen keeps as it was pretrained for another task; a probe "
        "of the tokens' mean is usually better: model.head PooledHead"
    )


def match_labels(task: Any, fresh: list[nn.Parameter]) -> list[nn.Parameter]:
    """Give the rows of a pretrained head to the labels of the same names, or begin its last layer anew for other labels.

    What was done is added to the notes of the task.

    Args:
        task: The task, whose model has its labels in the order of the data.
        fresh: The newly initialized weights of the model.

    Returns:
        The newly initialized weights, which include those that begin anew.
    """
    layer = _last_layer(task.model)
    if not (getattr(task, "label_names", None) and isinstance(task.head, TaskHead) and task.pretrained) or layer is None:
        return fresh
    labels: dict[Any, str] = load_config(task.hparams["backbone"], task.hparams["trust_remote_code"]).id2label or {}
    known = [str(labels[i]) for i in sorted(labels, key=int)]
    random, weights = {id(weight) for weight in fresh}, list(layer.parameters())
    named = not all(map(UNNAMED.fullmatch, known))
    if any(id(weight) in random for weight in weights):
        if named and len(known) != len(task.label_names):
            task.notes.append(_begins_anew(known, task.label_names))
        return fresh
    rows = matching_rows(task.label_names, known)
    if rows is None and named:
        _begin_anew(task.model, layer)
        task.notes.append(_begins_anew(known, task.label_names))
        return [*fresh, *weights]
    if rows is None:
        task.notes.append(
            f"the head of model.backbone names no labels; its rows are taken for {_shown(task.label_names)}, in this order"
        )
    elif rows != sorted(rows):
        with torch.no_grad():
            for weight in weights:
                weight.copy_(weight[rows])
        task.notes.append(f"the rows of the pretrained head were put into the order of the labels {_shown(task.label_names)}")
    return fresh


def matching_rows(names: list[str], known: list[str]) -> list[int] | None:
    """Return the row of each label among the labels of a pretrained head, or None if these are others.

    Upper and lower case count as the same where that leaves no doubt, and `LABEL_3` is the label `3`.
    """
    for form in (str, str.casefold, lambda name: UNNAMED.sub(r"\1", name)):
        places = {form(name): i for i, name in enumerate(known)}
        wanted = [form(name) for name in names]
        if len(places) == len(known) and places.keys() == set(wanted) and len(wanted) == len(places):
            return [places[name] for name in wanted]
    return None


def _outside(model: Any) -> list[tuple[str, nn.Module]]:
    """The modules outside the backbone."""
    prefix = model.base_model_prefix
    return [(name, part) for name, part in model.named_modules() if name and name.split(".")[0] != prefix]


def _last_layer(model: Any) -> nn.Linear | None:
    """The layer with a row for each label: the last one outside the backbone."""
    if not isinstance(getattr(model, model.base_model_prefix, None), nn.Module):
        return None
    layers = [part for _, part in _outside(model) if isinstance(part, nn.Linear)]
    return layers[-1] if layers else None


def _begin_anew(model: Any, layer: nn.Linear) -> None:
    for weight in layer.parameters():
        weight._is_hf_initialized = False  # type: ignore[attr-defined]  # else transformers would leave it as it is
    layer._is_hf_initialized = False  # type: ignore[assignment]
    model._init_weights(layer)


def _begins_anew(known: list[str], names: list[str]) -> str:
    return (
        f"model.backbone is a classifier of the labels {_shown(known)}, and the data have {_shown(names)}: the last layer of "
        "its head begins anew"
    )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

"""Build a task's model: backbone and head, weights of an earlier run, added tokens, tuning method, and auxiliary loss."""

from abc import ABCMeta
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.models.backbones import load_config, load_model, load_tokenizer
from ftlit.models.checks.positions import positions_follow_padding
from ftlit.models.checks.weights import keep_unused, unused_weights
from ftlit.models.embeddings import extend_embeddings, extend_head
from ftlit.models.gradient_checkpointing import checkpoint_layers
from ftlit.models.speed.cpu_attention import use_cpu_attention
from ftlit.models.speed.dropout import draw_masks_fast
from ftlit.models.speed.first_token import compute_first_token_only
from ftlit.models.speed.linear import multiply_fast
from ftlit.tasks.shared.init_from import initialise
from ftlit.tasks.shared.pretrained_head import head_note, match_labels
from ftlit.tuning.base import always_train, is_scheduled, is_trainable, set_known_rows
from ftlit.util.arguments.checked import CheckedArguments

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule


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
    own = {"trust_remote_code": trust, "dropout": task.dropout, "kept": task.keep_layers}
    load = partial(load_model, backbone=task.hparams["backbone"], **own)
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
    draw_masks_fast(task.model)
    use_cpu_attention(task.model)
    multiply_fast(task.model)
    supervised = bool(task.auxiliary and task.auxiliary.weight)
    if not (supervised or task.tuning.positions):
        compute_first_token_only(task.model, task.backbone)
    if task.hparams["gradient_checkpointing"]:
        checkpoint_layers(task.backbone)
    if task.auxiliary and supervised:
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
        lambda folder: task.build_earlier(partial(pretrained, backbone=folder, kept=None), config),
        task,
    )


def _extend(task: "TaskModule", earlier: list[Tensor]) -> list[nn.Parameter]:
    """Add embeddings of the added tokens, with the values of an earlier run if it added the same number of tokens."""
    extras = [extend_embeddings(task.backbone, task.added_tokens)]
    if task.pretrained_head:
        extras.append(extend_head(task.model, task.added_tokens))
    for extra, known in zip(extras, earlier, strict=False):
        if known.shape == extra.shape:
            extra.data.copy_(known)
            set_known_rows(extra, torch.ones(len(extra), dtype=torch.bool))
    return extras


def _apply_tuning(task: "TaskModule", fresh: list[nn.Parameter]) -> None:
    task.replace_backbone(task.tuning.apply(task.backbone))
    if task.pretrained_head and not task.tuning.tunes_pretrained_head:
        inside = {id(weight) for weight in task.backbone.parameters()}
        for weight in task.model.parameters():
            weight.requires_grad_(weight.requires_grad and id(weight) in inside)
    for weight in fresh:
        always_train(weight)
    task.stages.trunk.settle(task.backbone)
    if not any(is_trainable(weight) and not is_scheduled(weight) for weight in task.model.parameters()):
        raise UserError(
            f"model.tuning {task.tuning} leaves nothing to train: {type(task.model).__name__} has no new head, since its "
            "language model head is pretrained too; use Full, TopLayers or LoRA"
        )


def _tokenizer(task: "TaskModule") -> Any:
    return load_tokenizer(task.hparams["backbone"], trust_remote_code=task.hparams["trust_remote_code"])

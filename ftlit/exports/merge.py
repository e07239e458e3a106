"""Save a tuned model as a plain transformers model, with adapters merged and added tokens in the vocabulary."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.adapters import KEEP_RUN
from ftlit.exports.own_head import own_head_model, save_code
from ftlit.models.embeddings import ExtendedEmbedding, ExtendedHead
from ftlit.models.generation import SAMPLING, Generation
from ftlit.runs.exported import BACKBONE, TARGET_TOKENIZER, Kind, find_adapter
from ftlit.tasks import TaskModule
from ftlit.util.private import keep_generation_settings

# Folders of the tokenizer within an export; a file of GGUF has it inside.
PLACES: dict[Kind, tuple[str, ...]] = {"own_head": ("", BACKBONE), "backbone": (BACKBONE,), "gguf": ()}


def save_merged(task: TaskModule, folder: Path, dtype: str, kind: Kind, markers: list[int] | None = None) -> None:
    """Save the model of a task, or its backbone if the head is the user's own. The task is merged in place.

    Args:
        task: The task.
        folder: The exported folder.
        dtype: Data type of the weights.
        kind: Kind of the folder.
        markers: Ids of the tokens that mark entities.

    Raises:
        UserError: If the tuning method cannot be merged.
    """
    make_plain(task)
    if kind == "own_head":
        own_head_model(task, markers or []).to(getattr(torch, dtype)).save_pretrained(folder)
        task.backbone.config.save_pretrained(folder / BACKBONE)  # type: ignore[union-attr, operator]
        save_code(folder)
        return
    model: Any = task.backbone if kind == "backbone" else task.model
    if isinstance(generation := getattr(task, "generation", None), Generation):
        set_generation(task, model.generation_config, generation)
    model.to(getattr(torch, dtype)).save_pretrained(folder / BACKBONE if kind == "backbone" else folder)


def make_plain(task: TaskModule) -> None:
    """Make the model of a task one of transformers, in place: merge its tuning method, and extend its vocabulary.

    Raises:
        UserError: If the tuning method cannot be merged.
    """
    adapter = find_adapter(task) is not None
    try:
        merge(task)
    except UserError as error:
        remedy = f"export the adapter with --adapter-only, or {KEEP_RUN}" if adapter else KEEP_RUN
        raise UserError(str(error) if "--adapter-only" in str(error) else f"{error}; {remedy}") from error
    plain_embeddings(task.backbone)
    if task.pretrained_head:
        plain_head(task.model)


def merge(task: TaskModule) -> None:
    """Merge the tuning method of a task into the weights of its backbone, in place.

    Raises:
        UserError: If it cannot be merged.
    """
    untie(task.model)
    check_tied(task)
    task.replace_backbone(task.tuning.merge(task.backbone))


def untie(model: Any) -> None:
    """Give the output layer its own weights if it shares those of a layer that the tuning method has changed.

    The updates are in the changed layer only. Merged into shared weights, they would act in both.
    """
    if not isinstance(model, PreTrainedModel):
        return
    table, output = model.get_input_embeddings(), model.get_output_embeddings()
    inner, last = getattr(table, "base_layer", table), getattr(output, "base_layer", output)
    changed = inner is not table or last is not output
    if changed and getattr(inner, "weight", None) is getattr(last, "weight", output):
        last.weight = nn.Parameter(last.weight.detach().clone())
        model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False


def check_tied(task: TaskModule) -> None:
    """Check that no adapter changes a weight that another layer shares, such as an output layer that is the embeddings.

    Raises:
        UserError: If one does: merged, it would change both layers.
    """
    uses = Counter(id(weight) for _, weight in task.model.named_parameters(remove_duplicate=False))
    layers = [(name, getattr(part, "base_layer", None)) for name, part in task.backbone.named_modules()]
    tied = [name for name, base in layers if base is not None and uses[id(getattr(base, "weight", None))] > 1]
    if tied:
        name = tied[0].rsplit(".", 1)[-1]
        raise UserError(
            f"model.tuning {type(task.tuning).__name__} cannot be merged: it changes {name}, whose weights another layer "
            "shares (tied embeddings), and merged it would change both"
        )


def plain_embeddings(backbone: Any) -> None:
    """Replace an extended embedding by an ordinary one, which is enlarged if necessary."""
    table = backbone.get_input_embeddings()
    if isinstance(table, ExtendedEmbedding):
        backbone.set_input_embeddings(merged := table.plain())
        backbone.config.get_text_config().vocab_size = merged.num_embeddings


@torch.no_grad()
def plain_head(model: Any) -> None:
    """Replace the extended output layer of a language model, after its embedding, by an ordinary one."""
    head = model.get_output_embeddings()
    if not isinstance(head, ExtendedHead):
        return
    end, bias = head.first + len(head.extra), head.bias
    merged = nn.Linear(head.in_features, max(head.out_features, end), bias is not None)
    if head.tied:
        merged.weight = model.get_input_embeddings().weight
    else:
        merged.weight[: head.out_features] = head.weight
        merged.weight[head.first : end] = head.extra
    if bias is not None:
        merged.bias.zero_()[: len(bias)] = bias
    model.set_output_embeddings(merged)


def set_generation(task: Any, config: Any, generation: Generation) -> None:
    """Write the generation settings of the run into the model's generation config."""
    settings = generation.config(task.tokenizer, task.max_new_tokens)
    names = ("num_beams", "max_new_tokens", "min_new_tokens", "length_penalty", "no_repeat_ngram_size", "repetition_penalty")
    for name in (*names, "do_sample", "early_stopping", "forced_bos_token_id", *SAMPLING):
        value = getattr(settings, name)
        if value is not None or name in SAMPLING:  # None keeps the value of the model
            setattr(config, name, value)
    if settings.num_beams == 1:
        config.length_penalty = None  # applies to beam search only
    keep_generation_settings(config)


def save_tokenizer(task: Any, data: TaskData, folder: Path, kind: Kind) -> None:
    """Save the tokenizer with added tokens beside each configuration, and the tokenizer of a separate decoder."""
    tokenizer: Any = data.tokenizer
    if not task.pretrained_head:  # pipelines truncate like the run; language models generate texts of any length
        tokenizer.model_max_length = data.max_length
    if template := getattr(data, "chat_template", None):
        tokenizer.chat_template = template.source
    for place in PLACES.get(kind, ("",)):
        _save(tokenizer, folder / place)
    if getattr(task, "decoder", None):
        _save(task.tokenizer, folder / TARGET_TOKENIZER)


def _save(tokenizer: Any, folder: Path) -> None:
    if backend := getattr(tokenizer, "backend_tokenizer", None):  # reset the settings of the last call
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(folder)

"""Save a tuned model as a plain transformers model, with adapters merged and added tokens in the vocabulary."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.adapters import KEEP_RUN, find_adapter
from ftlit.exports.folder import TARGET_TOKENIZER
from ftlit.models.embeddings import ExtendedEmbedding, ExtendedHead
from ftlit.models.generation import SAMPLING, Generation
from ftlit.tasks import TaskModule
from ftlit.util.private import keep_generation_settings


def save_merged(task: TaskModule, folder: Path, dtype: str) -> None:
    """Save the model of a task, or its backbone if the head is not part of transformers. The task is merged in place.

    Raises:
        UserError: If the tuning method cannot be merged.
    """
    adapter = find_adapter(task) is not None
    try:
        task.replace_backbone(task.tuning.merge(task.backbone))
    except UserError as error:
        remedy = f"export the adapter with --adapter-only, or {KEEP_RUN}" if adapter else KEEP_RUN
        raise UserError(str(error) if "--adapter-only" in str(error) else f"{error}; {remedy}") from error
    plain_embeddings(task.backbone)
    if task.pretrained_head:
        plain_head(task.model)
    model: Any = task.model if isinstance(task.model, PreTrainedModel) else task.backbone
    if isinstance(generation := getattr(task, "generation", None), Generation):
        set_generation(task, model.generation_config, generation)
    model.to(getattr(torch, dtype)).save_pretrained(folder)


@torch.no_grad()
def plain_embeddings(backbone: Any) -> None:
    """Replace an extended embedding by an ordinary one, which is enlarged if necessary."""
    table = backbone.get_input_embeddings()
    if not isinstance(table, ExtendedEmbedding):
        return
    end = table.first + len(table.extra)
    merged = nn.Embedding(max(table.num_embeddings, end), table.embedding_dim, table.padding_idx)
    merged.weight[: table.num_embeddings] = table.weight
    merged.weight[table.first : end] = table.extra
    backbone.set_input_embeddings(merged)
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


def save_tokenizer(task: Any, data: TaskData, folder: Path) -> None:
    """Save the tokenizer with added tokens, and the tokenizer of a separate decoder."""
    tokenizer: Any = data.tokenizer
    if not task.pretrained_head:  # pipelines truncate like the run; language models generate texts of any length
        tokenizer.model_max_length = data.max_length
    if template := getattr(data, "chat_template", None):
        tokenizer.chat_template = template.source
    _save(tokenizer, folder)
    if getattr(task, "decoder", None):
        _save(task.tokenizer, folder / TARGET_TOKENIZER)


def _save(tokenizer: Any, folder: Path) -> None:
    if backend := getattr(tokenizer, "backend_tokenizer", None):  # reset the settings of the last call
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(folder)

"""A tuned model as a plain one of transformers: adapters in the weights, added tokens among the others."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.adapters import STAY, adapter_of
from ftlit.exports.folder import TARGETS
from ftlit.models.embeddings import ExtendedEmbedding
from ftlit.models.generation import SAMPLING, Generation
from ftlit.tasks import TaskModule
from ftlit.util.private import keep_generation_settings


def save_merged(task: TaskModule, folder: Path, dtype: str) -> None:
    """Write a task's model, or its backbone where transformers does not know the head; the task is merged in place.

    Raises:
        UserError: The method cannot be merged.
    """
    adapter = adapter_of(task) is not None
    try:
        task.replace_backbone(task.tuning.merge(task.backbone))
    except UserError as error:
        remedy = f"export the adapter with --adapter-only, or {STAY}" if adapter else STAY
        raise UserError(str(error) if "--adapter-only" in str(error) else f"{error}; {remedy}") from error
    plain_embeddings(task.backbone)
    model: Any = task.model if isinstance(task.model, PreTrainedModel) else task.backbone
    if isinstance(generation := getattr(task, "generation", None), Generation):
        set_generation(task, model.generation_config, generation)
    model.to(getattr(torch, dtype)).save_pretrained(folder)


@torch.no_grad()
def plain_embeddings(backbone: Any) -> None:
    """Make embeddings of added tokens rows of an ordinary table, which grows where their ids are beyond it."""
    table = backbone.get_input_embeddings()
    if not isinstance(table, ExtendedEmbedding):
        return
    end = table.first + len(table.extra)
    whole = nn.Embedding(max(table.num_embeddings, end), table.embedding_dim, table.padding_idx)
    whole.weight[: table.num_embeddings] = table.weight
    whole.weight[table.first : end] = table.extra
    backbone.set_input_embeddings(whole)
    backbone.config.get_text_config().vocab_size = whole.num_embeddings


def set_generation(task: Any, config: Any, generation: Generation) -> None:
    """Make the run's settings of generation those of the model."""
    settings = generation.config(task.tokenizer, task.longest)
    names = ("num_beams", "max_new_tokens", "min_new_tokens", "length_penalty", "no_repeat_ngram_size", "repetition_penalty")
    for name in (*names, "do_sample", "early_stopping", "forced_bos_token_id", *SAMPLING):
        value = getattr(settings, name)
        if value is not None or name in SAMPLING:  # what is left open comes from the model
            setattr(config, name, value)
    if settings.num_beams == 1:
        config.length_penalty = None  # of beams alone
    keep_generation_settings(config)


def save_tokenizer(task: Any, data: TaskData, folder: Path) -> None:
    """Write the tokenizer with all that the data added to it, and that of targets where it is another."""
    tokenizer: Any = data.tokenizer
    if not task.pretrained_head:  # pipelines cut where the run did; language models write texts of any length
        tokenizer.model_max_length = data.max_length
    if template := getattr(data, "chat_template", None):
        tokenizer.chat_template = template.source
    _save(tokenizer, folder)
    if getattr(task, "decoder", None):
        _save(task.tokenizer, folder / TARGETS)


def _save(tokenizer: Any, folder: Path) -> None:
    if backend := getattr(tokenizer, "backend_tokenizer", None):  # its last call is no property of it
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(folder)

"""Attention on CPUs, for the cases in which PyTorch's own is slow: with dropout, and backward in bfloat16."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ftlit.models.speed.dropout import dropout as drop
from ftlit.util.private import attention_name, cpu_multiplies_bfloat16_tiles

NAME = "sdpa_or_plain"
LONGEST = 512  # tokens up to which plain products are faster than PyTorch's backward pass in bfloat16


def use_cpu_attention(model: nn.Module) -> None:
    """Let a model that attends by ``sdpa`` use `attention` instead, where its family allows this."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    for part in model.modules():
        if isinstance(part, PreTrainedModel) and attention_name(part) == "sdpa":
            part.set_attn_implementation(NAME)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention in the interface of transformers.

    Args:
        module: The attention layer.
        query: ``(batch, heads, tokens, width)``
        key: ``(batch, heads or fewer, tokens, width)``, likewise the values.
        value: The values.
        attention_mask: True for the tokens that are seen, or numbers to add: ``(batch, 1 or heads, tokens, tokens)``
        dropout: Dropout probability of the attention weights.
        scaling: Factor of the scores; by default one over the root of the width.
        is_causal: Whether tokens see only those before them if there is no mask; by default what the layer says.
        kwargs: Further arguments of transformers.

    Returns:
        The output ``(batch, tokens, heads, width)``, and no attention weights.
    """
    plain = is_plainly_faster(query, dropout) and not any(kwargs.get(name) is not None for name in SPECIAL)
    if not plain:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if attention_mask is None and causal and query.shape[2] > 1:
        key, value = key[:, :, : query.shape[2]], value[:, :, : query.shape[2]]
        attention_mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    output = plain_attention(query, key, value, attention_mask, dropout, scaling)
    return output.transpose(1, 2).contiguous(), None


SPECIAL = ("softcap", "position_bias", "cache")  # what only some families give


def is_plainly_faster(query: Tensor, dropout: float) -> bool:
    """Whether plain products are faster here than PyTorch's attention; never where memory is saved in evaluations."""
    if query.device.type != "cpu" or not query.requires_grad or torch.compiler.is_compiling():
        return False
    backward = query.dtype == torch.bfloat16 and query.shape[2] <= LONGEST and not cpu_multiplies_bfloat16_tiles()
    return dropout > 0 or backward


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float | None
) -> Tensor:
    """The formula of attention, ``(batch, heads, tokens, width)``.

    Args:
        query: ``(batch, heads, tokens, width)``, likewise keys and values.
        key: The keys.
        value: The values.
        mask: True for the tokens that are seen, or numbers to add to the scores, or None.
        dropout: Dropout probability of the weights.
        scaling: Factor of the scores; by default one over the root of the width.
    """
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(-1, -2))
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask.to(scores.dtype)
    weights = torch.softmax(scores, -1, dtype=scores.dtype)
    return torch.matmul(drop(weights, dropout) if dropout else weights, value)

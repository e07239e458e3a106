"""Heads that transformers lacks, as models of transformers.

This file lies beside the weights of an exported model, whose config.json names it, so it imports no ftlit. It runs only where
its user sets ``trust_remote_code=True``; otherwise transformers refuses the model, instead of adding a random head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class Pool(nn.Module):
    """Pool token vectors ``(batch, tokens, width)`` into text vectors ``(batch, width)``, ignoring padding."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        real = mask.unsqueeze(-1).to(hidden.dtype)
        if self.kind == "mean":
            return (hidden * real).sum(1) / real.sum(1)
        if self.kind == "max":
            return hidden.masked_fill(real == 0, float("-inf")).amax(1)
        position = mask.argmax(1) if self.kind == "cls" else mask.shape[1] - 1 - mask.flip(1).argmax(1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), position]


class AttentionPool(nn.Module):
    """Average token vectors with learned weights, ``softmax(hidden @ query)``, ignoring padding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        scores = self.query(hidden).squeeze(-1).masked_fill(mask == 0, float("-inf"))
        return (scores.softmax(1).unsqueeze(-1) * hidden).sum(1)


def pool(kind: str, width: int) -> nn.Module:
    """The pooling layer of a kind."""
    return AttentionPool(width) if kind == "attention" else Pool(kind)


def network(width: int, num_labels: int, layers: int, dropout: float) -> nn.Sequential:
    """Linear layers, all but the last followed by tanh, with dropout before each."""
    steps: list[nn.Module] = []
    for _ in range(layers - 1):
        steps += [nn.Dropout(dropout), nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*steps, nn.Dropout(dropout), nn.Linear(width, num_labels))


def entity_vectors(hidden: Tensor, positions: Tensor) -> Tensor:
    """Concatenate the vectors at some positions of each text, ``(batch, positions * width)``."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])).flatten(1)


class OwnHeadConfig(PretrainedConfig):
    """Configuration of a backbone with a head.

    Args:
        backbone: Configuration of the backbone.
        pooling: How token vectors become one vector; ``entity_start`` takes those of both entities' start markers.
        layers: Number of linear layers.
        dropout: Dropout probability before each of them.
        markers: Ids of the tokens that start the entities.
    """

    model_type = "ftlit"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        pooling: str = "mean",
        layers: int = 1,
        dropout: float = 0.1,
        markers: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone, self.pooling, self.layers, self.dropout, self.markers = backbone, pooling, layers, dropout, markers
        super().__init__(**kwargs)


class OwnHeadModel(PreTrainedModel):
    """A backbone with pooling and a small network, or with a linear layer on the vectors of two marked entities."""

    config_class = OwnHeadConfig
    base_model_prefix = "backbone"

    def __init__(self, config: OwnHeadConfig) -> None:
        super().__init__(config)
        settings = AutoConfig.for_model(**(config.backbone or {}))
        self.backbone = AutoModel.from_config(settings)
        if getattr(self.backbone, "pooler", None) is not None:
            self.backbone.pooler = None
        width = settings.hidden_size * (2 if config.pooling == "entity_start" else 1)
        self.pool = nn.Identity() if config.pooling == "entity_start" else pool(config.pooling, width)
        self.head = network(width, config.num_labels or 1, config.layers, config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep what the layers draw by themselves; all weights are loaded."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, entity_positions: Tensor | None = None, **inputs: Any
    ) -> SequenceClassifierOutput:
        """Return logits ``(batch, labels)`` of tokens ``(batch, tokens)``, or ``(batch, choices)`` of several texts each."""
        choices = input_ids.shape[1] if input_ids.dim() == 3 else None
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        given = {name: value for name, value in inputs.items() if name in ("token_type_ids", "position_ids")}
        if choices is not None:
            input_ids, mask = input_ids.flatten(0, 1), mask.flatten(0, 1)
            given = {name: value.flatten(0, 1) for name, value in given.items()}
        hidden = self.backbone(input_ids=input_ids, attention_mask=mask, **given).last_hidden_state
        if self.config.pooling == "entity_start":
            vectors = entity_vectors(hidden, self._entities(input_ids) if entity_positions is None else entity_positions)
        else:
            vectors = self.pool(hidden, mask)
        logits = self.head(vectors)
        return SequenceClassifierOutput(logits=logits if choices is None else logits.view(-1, choices))

    def _entities(self, input_ids: Tensor) -> Tensor:
        found = [input_ids == marker for marker in self.config.markers or []]
        if not found or not all(bool(places.any(1).all()) for places in found):
            raise ValueError("each text needs both entities in markers, as in: [E1] heat [/E1] causes [E2] fire [/E2]")
        return torch.stack([places.int().argmax(1) for places in found], 1)

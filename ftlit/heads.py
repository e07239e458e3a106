"""What stands on the backbone: the Hugging Face task head, or pooling and a small network."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from transformers import AutoModel
from transformers.modeling_outputs import SequenceClassifierOutput

from ftlit.errors import UserError
from ftlit.models.backbones import load_config
from ftlit.models.encoder_decoder import decoder_tokenizer, marks

# load(auto_class, **config) gives a model and its freshly initialised weights
Load = Callable[..., tuple[nn.Module, list[nn.Parameter]]]


class Head(ABC):
    """Makes the model of a task: a backbone under ``model.base_model_prefix`` and a prediction head."""

    @abstractmethod
    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        """The model, called like a Hugging Face task model, and its freshly initialised weights.

        Args:
            load: Loads the backbone with a class of transformers and changes to its configuration.
            auto_class: The class of transformers for the task.
            config: Changes to the configuration: ``num_labels`` and label names.
        """


def _encoder(load: Load, head: Head, config: dict[str, Any]) -> tuple[Any, list[nn.Parameter]]:
    """The backbone alone, and its freshly initialised weights.

    Raises:
        UserError: Its last layer is a decoder's, whose tokens are not those of the text.
    """
    backbone: Any
    backbone, fresh = load(AutoModel, **config)
    if backbone.config.is_encoder_decoder:
        raise UserError(
            f"model.head {type(head).__name__} needs one vector for each token of the text, and model.backbone is a "
            f"{backbone.config.model_type}, an encoder and a decoder; take TaskHead, or another backbone"
        )
    return backbone, fresh


class TaskHead(Head):
    """The head that transformers puts on this architecture for the task."""

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        return load(auto_class, **config)


@dataclass(frozen=True)
class PooledHead(Head):
    """One vector for each text by pooling the last layer, then a small network.

    Args:
        pooling: How a text's token vectors become one: `cls` takes the first token, `last` the last (for decoders),
            `mean` and `max` go over all real tokens, `attention` learns a weight for each token.
        layers: Number of linear layers; all but the last are followed by tanh and keep the width.
        dropout: Dropout before each linear layer.
    """

    pooling: Literal["cls", "last", "mean", "max", "attention"] = "mean"
    layers: int = 1
    dropout: float = 0.1

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        backbone, fresh = _encoder(load, self, config)
        model = PooledModel(backbone, self, config["num_labels"])
        kept = {id(weight) for weight in model.parameters()}
        return model, [w for w in fresh if id(w) in kept] + [*model.pool.parameters(), *model.head.parameters()]


class PooledModel(nn.Module):
    """A backbone, pooling and a network, called like a Hugging Face task model."""

    base_model_prefix = "backbone"

    def __init__(self, backbone: Any, settings: PooledHead, num_labels: int) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # unused weights would stop distributed training
        self.backbone, self.config = backbone, backbone.config
        width = backbone.config.hidden_size
        self.pool = AttentionPool(width) if settings.pooling == "attention" else Pool(settings.pooling)
        steps: list[nn.Module] = []
        for _ in range(settings.layers - 1):
            steps += [nn.Dropout(settings.dropout), nn.Linear(width, width), nn.Tanh()]
        self.head = nn.Sequential(*steps, nn.Dropout(settings.dropout), nn.Linear(width, num_labels))

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """Logits ``(batch, labels)`` for ``input_ids`` and ``attention_mask`` of shape ``(batch, tokens)``."""
        hidden = self.backbone(attention_mask=attention_mask, **inputs).last_hidden_state
        return SequenceClassifierOutput(logits=self.head(self.pool(hidden, attention_mask)))


@dataclass(frozen=True)
class EntityHead(Head):
    """One vector for two marked entities, then a linear layer (Baldini Soares et al., 2019).

    Args:
        pooling: `entity_start` joins the last layer's vectors of both entities' start markers, `cls` takes the first token.
        dropout: Dropout before the linear layer.
    """

    pooling: Literal["entity_start", "cls"] = "entity_start"
    dropout: float = 0.1

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        backbone, fresh = _encoder(load, self, config)
        model = EntityModel(backbone, self, config["num_labels"])
        kept = {id(weight) for weight in model.parameters()}
        return model, [w for w in fresh if id(w) in kept] + [*model.head.parameters()]


class EntityModel(nn.Module):
    """A backbone and a linear layer on two of its vectors, called like a Hugging Face task model."""

    base_model_prefix = "backbone"

    def __init__(self, backbone: Any, settings: EntityHead, num_labels: int) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # unused weights would stop distributed training
        self.backbone, self.config, self.pooling = backbone, backbone.config, settings.pooling
        width = backbone.config.hidden_size * (2 if settings.pooling == "entity_start" else 1)
        self.head = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(width, num_labels))

    def forward(
        self, attention_mask: Tensor, entity_positions: Tensor | None = None, **inputs: Tensor
    ) -> SequenceClassifierOutput:
        """Logits ``(batch, labels)`` for tokens ``(batch, tokens)`` and the positions of both entities, ``(batch, 2)``."""
        if entity_positions is None:
            raise UserError("model.head EntityHead needs entities in the data, as RelationExtraction has; use PooledHead")
        hidden = self.backbone(attention_mask=attention_mask, **inputs).last_hidden_state
        hidden = hidden[:, -attention_mask.shape[1] :]  # prompt methods put tokens of their own before the text
        places = entity_positions if self.pooling == "entity_start" else attention_mask.argmax(1, keepdim=True)
        chosen = hidden.gather(1, places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        return SequenceClassifierOutput(logits=self.head(chosen.flatten(1)))


class Pool(nn.Module):
    """One vector of each text, ``(batch, tokens, width)`` to ``(batch, width)``, blind to padding."""

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
        return hidden[range(len(hidden)), position]


class AttentionPool(nn.Module):
    """A learned average of the token vectors: ``softmax(hidden @ query)`` over the real tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        scores = self.query(hidden).squeeze(-1).masked_fill(mask == 0, float("-inf"))
        return (scores.softmax(1).unsqueeze(-1) * hidden).sum(1)


@dataclass(frozen=True)
class JoinedHead(Head):
    """The backbone as encoder and another pretrained model as decoder (Rothe et al., 2020).

    What neither model's files hold is new: the cross-attention, where the decoder was no language model its output layer,
    and a projection where the two differ in width. These weights train whatever the tuning method.

    Args:
        decoder: Folder, hub name, or ``package:<module>/<path>`` of the decoder.
        trust_remote_code: Whether code that comes with it may run.
    """

    decoder: str
    trust_remote_code: bool = False

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        from transformers import AutoModel, AutoModelForCausalLM, EncoderDecoderConfig, EncoderDecoderModel

        encoder, fresh = load(AutoModel, **config)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # type: ignore[assignment]  # unused weights would stop distributed training
        known = load_config(self.decoder, self.trust_remote_code)
        reads = {name: True for name in ("is_decoder", "add_cross_attention") if hasattr(known, name)}  # GPT-2 has one of them
        decoder, new = load(AutoModelForCausalLM, backbone=self.decoder, **reads)
        ids = marks(decoder_tokenizer(self.decoder, self.trust_remote_code))
        settings = EncoderDecoderConfig.from_encoder_decoder_configs(
            encoder.config,  # type: ignore[arg-type]
            decoder.config,  # type: ignore[arg-type]
            decoder_start_token_id=ids.start,
            eos_token_id=ids.end,
            pad_token_id=ids.pad,
        )
        model = EncoderDecoderModel(settings, encoder, decoder).train()  # type: ignore[arg-type]
        kept = {id(weight) for weight in model.parameters()}
        bridge = getattr(model, "enc_to_dec_proj", None)
        return model, [w for w in (*fresh, *new) if id(w) in kept] + ([*bridge.parameters()] if bridge else [])

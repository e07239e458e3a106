"""Prediction heads: the head of transformers, or pooling with a small network."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from transformers import AutoModel
from transformers.modeling_outputs import SequenceClassifierOutput

from ftlit.errors import UserError
from ftlit.models.backbones import load_config
from ftlit.models.encoder_decoder import decoder_tokenizer, target_ids
from ftlit.models.own_heads import entity_vectors, network, pool
from ftlit.util.arguments.checked import CheckedArguments

# load(auto_class, **config) returns a model and its newly initialized weights
Load = Callable[..., tuple[nn.Module, list[nn.Parameter]]]


class Head(metaclass=CheckedArguments):
    """Builds the model of a task: a backbone, as the attribute ``model.base_model_prefix``, and a prediction head."""

    config_key: ClassVar[str] = "model.head"

    @abstractmethod
    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        """Build a model that is called like a Hugging Face task model.

        Args:
            load: Loads the backbone, given an ``AutoModel…`` class and changes to its configuration.
            auto_class: The ``AutoModelFor…`` class of the task.
            config: Changes to the configuration, such as ``num_labels`` and label names.

        Returns:
            The model and its newly initialized weights.
        """


def _encoder(load: Load, head: Head, config: dict[str, Any]) -> tuple[Any, list[nn.Parameter]]:
    """Load the backbone without a head and return it with its newly initialized weights.

    Raises:
        UserError: If it is an encoder-decoder model, whose outputs do not correspond to the tokens of the text.
    """
    backbone: Any
    backbone, new = load(AutoModel, **config)
    if backbone.config.is_encoder_decoder:
        raise UserError(
            f"model.head {type(head).__name__} needs a vector for each token of the text, but model.backbone is an "
            f"encoder-decoder model ({backbone.config.model_type}); use TaskHead, or another backbone"
        )
    return backbone, new


class TaskHead(Head):
    """The head of transformers for the task and architecture."""

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        return load(auto_class, **config)


@dataclass(frozen=True)
class PooledHead(Head):
    """Pool the last layer into one vector for each text, followed by a small network.

    Args:
        pooling: How to pool the token vectors. `cls` uses the first token, `last` the last one (for decoders), `mean` and
            `max` all tokens except padding, and `attention` a learned weighted average.
        layers: Number of linear layers. All but the last keep the width and are followed by tanh.
        dropout: Dropout probability before each linear layer.
    """

    pooling: Literal["cls", "last", "mean", "max", "attention"] = "mean"
    layers: int = 1
    dropout: float = 0.1

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        backbone, new = _encoder(load, self, config)
        model = PooledModel(backbone, self, config["num_labels"])
        kept = {id(weight) for weight in model.parameters()}
        return model, [w for w in new if id(w) in kept] + [*model.pool.parameters(), *model.head.parameters()]


class PooledModel(nn.Module):
    """A backbone with pooling and a small network, called like a Hugging Face task model."""

    base_model_prefix = "backbone"

    def __init__(self, backbone: Any, settings: PooledHead, num_labels: int) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # unused weights break distributed training
        self.backbone, self.config = backbone, backbone.config
        width = backbone.config.hidden_size
        self.pool = pool(settings.pooling, width)
        self.head = network(width, num_labels, settings.layers, settings.dropout)

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """Return logits ``(batch, labels)`` for ``input_ids`` and ``attention_mask``, both ``(batch, tokens)``."""
        hidden = self.backbone(attention_mask=attention_mask, **inputs).last_hidden_state
        return SequenceClassifierOutput(logits=self.head(self.pool(hidden, attention_mask)))


@dataclass(frozen=True)
class EntityHead(Head):
    """Represent two marked entities by one vector, followed by a linear layer (Baldini Soares et al., 2019).

    Args:
        pooling: `entity_start` concatenates the last layer's vectors of both entity start markers, `cls` uses the first token.
        dropout: Dropout probability before the linear layer.
    """

    pooling: Literal["entity_start", "cls"] = "entity_start"
    dropout: float = 0.1

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        backbone, new = _encoder(load, self, config)
        model = EntityModel(backbone, self, config["num_labels"])
        kept = {id(weight) for weight in model.parameters()}
        return model, [w for w in new if id(w) in kept] + [*model.head.parameters()]


class EntityModel(nn.Module):
    """A backbone with a linear layer on the vectors of two entities, called like a Hugging Face task model."""

    base_model_prefix = "backbone"

    def __init__(self, backbone: Any, settings: EntityHead, num_labels: int) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # unused weights break distributed training
        self.backbone, self.config, self.pooling = backbone, backbone.config, settings.pooling
        width = backbone.config.hidden_size * (2 if settings.pooling == "entity_start" else 1)
        self.head = network(width, num_labels, 1, settings.dropout)

    def forward(
        self, attention_mask: Tensor, entity_positions: Tensor | None = None, **inputs: Tensor
    ) -> SequenceClassifierOutput:
        """Return logits ``(batch, labels)`` for tokens ``(batch, tokens)`` and positions of both entities ``(batch, 2)``."""
        if entity_positions is None:
            raise UserError("model.head EntityHead needs entities in the data, as in RelationExtraction; use PooledHead")
        hidden = self.backbone(attention_mask=attention_mask, **inputs).last_hidden_state
        hidden = hidden[:, -attention_mask.shape[1] :]  # without the positions of a learned prompt
        positions = entity_positions if self.pooling == "entity_start" else attention_mask.argmax(1, keepdim=True)
        return SequenceClassifierOutput(logits=self.head(entity_vectors(hidden, positions)))


@dataclass(frozen=True)
class EncoderDecoderHead(Head):
    """Use the backbone as encoder and another pretrained model as decoder (Rothe et al., 2020).

    The cross-attention is newly initialized. So are the output layer if the decoder was not a language model, and a projection
    if the widths differ. These weights train with every tuning method.

    Args:
        decoder: Folder, hub name, or ``package:<module>/<path>`` of the decoder.
        trust_remote_code: Whether to run code that comes with the decoder.
    """

    decoder: str
    trust_remote_code: bool = False

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        from transformers import AutoModel, AutoModelForCausalLM, EncoderDecoderConfig, EncoderDecoderModel

        encoder, new = load(AutoModel, **config)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # type: ignore[assignment]  # unused weights break distributed training
        decoder_config = load_config(self.decoder, self.trust_remote_code)
        flags = ("is_decoder", "add_cross_attention")  # GPT-2 has only one of them
        cross = {name: True for name in flags if hasattr(decoder_config, name)}
        decoder, decoder_new = load(AutoModelForCausalLM, backbone=self.decoder, kept=None, **cross)
        ids = target_ids(decoder_tokenizer(self.decoder, self.trust_remote_code))
        settings = EncoderDecoderConfig.from_encoder_decoder_configs(
            encoder.config,  # type: ignore[arg-type]
            decoder.config,  # type: ignore[arg-type]
            decoder_start_token_id=ids.start,
            eos_token_id=ids.end,
            pad_token_id=ids.pad,
        )
        model = EncoderDecoderModel(settings, encoder, decoder).train()  # type: ignore[arg-type]
        kept = {id(weight) for weight in model.parameters()}
        projection = getattr(model, "enc_to_dec_proj", None)
        return model, [w for w in (*new, *decoder_new) if id(w) in kept] + ([*projection.parameters()] if projection else [])

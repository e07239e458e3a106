"""Methods that learn a prompt before the text. Heads and spans of the text do not see the prompt's positions."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ftlit.errors import UserError
from ftlit.models.checks.positions import max_positions
from ftlit.tuning.base import Tuning, not_mergeable
from ftlit.tuning.prompted_backbone import PrefixBackbone, PromptedBackbone, SoftPromptBackbone

SPECIAL_TOKENS = 2  # length of an empty text, which must fit behind the prompt


class PromptMethod(Tuning):
    """Base class of methods that freeze the backbone and learn a prompt before the text."""

    tokens: int

    @property
    def positions(self) -> int:
        return self.tokens

    def check(self, backbone: Any) -> None:
        limit = max_positions(backbone.config)
        if limit is not None and self.tokens + SPECIAL_TOKENS >= limit:
            raise UserError(
                f"model.tuning.tokens is {self.tokens}, but {type(backbone).__name__} has only {limit} positions for the "
                "prompt and the text together; lower it"
            )

    @abstractmethod
    def wrap(self, backbone: Any) -> PromptedBackbone:
        """Return the backbone with its prompt."""

    def apply(self, backbone: Any) -> nn.Module:
        backbone.requires_grad_(False)
        if not backbone.config.is_encoder_decoder:
            return self.wrap(backbone)
        plain = backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone  # without a peft wrapper
        plain.encoder = self.wrap(plain.encoder)
        return backbone

    def merge(self, backbone: nn.Module) -> nn.Module:
        raise not_mergeable(self)

    def shape(self, backbone: Any) -> dict[str, Any]:
        """Return the arguments that peft's prompt configs have in common."""
        width = backbone.get_input_embeddings().embedding_dim
        return {"num_virtual_tokens": self.tokens, "token_dim": width, "num_transformer_submodules": 1}


@dataclass(frozen=True)
class PromptTuning(PromptMethod):
    """Train input embeddings that are placed before the text (Lester et al., 2021).

    Args:
        tokens: Number of prompt tokens. Texts have that many positions fewer.
        init: How the prompt is initialized. `vocabulary` uses the embeddings of random tokens, `text` those of `text`, and
            `random` draws random vectors.
        text: Initial prompt, repeated or truncated to the number of tokens. Only with `init` set to `text`.
    """

    tokens: int = 20
    init: Literal["vocabulary", "text", "random"] = "vocabulary"
    text: str | None = None

    def __post_init__(self) -> None:
        if (self.init == "text") != bool(self.text):
            raise UserError(
                f"model.tuning.init is {self.init!r} and model.tuning.text is {self.text!r}: set text if and only if init is "
                "'text'"
            )

    def wrap(self, backbone: Any) -> PromptedBackbone:
        from peft import PromptEmbedding, PromptTuningConfig

        named = {"prompt_tuning_init_text": self.text, "tokenizer_name_or_path": backbone.config.name_or_path}
        config = PromptTuningConfig(
            task_type="FEATURE_EXTRACTION",
            prompt_tuning_init={"vocabulary": "SAMPLE_VOCAB", "text": "TEXT", "random": "RANDOM"}[self.init],
            **(named if self.init == "text" else {}),
            **self.shape(backbone),
        )
        return SoftPromptBackbone(backbone, PromptEmbedding(config, backbone.get_input_embeddings()), config)


@dataclass(frozen=True)
class PTuning(PromptMethod):
    """Train a small network that generates input embeddings before the text (P-tuning; Liu et al., 2021).

    Args:
        tokens: Number of prompt tokens. Texts have that many positions fewer.
        encoder: Architecture of the network.
        width: Hidden width of the network. Defaults to the width of the embeddings.
    """

    tokens: int = 20
    encoder: Literal["mlp", "lstm"] = "mlp"
    width: int | None = None

    def wrap(self, backbone: Any) -> PromptedBackbone:
        from peft import PromptEncoder, PromptEncoderConfig

        shape = self.shape(backbone)
        config = PromptEncoderConfig(
            task_type="FEATURE_EXTRACTION",
            encoder_reparameterization_type=self.encoder.upper(),  # type: ignore[arg-type]
            encoder_hidden_size=self.width or shape["token_dim"],
            **shape,
        )
        return SoftPromptBackbone(backbone, PromptEncoder(config), config)


@dataclass(frozen=True)
class PrefixTuning(PromptMethod):
    """Train keys and values that are placed before those of the text in every layer (Li and Liang, 2021).

    Args:
        tokens: Number of prefix positions. Texts have that many positions fewer.
        projection: Whether a small network generates the prefix. This trains more stably, with more parameters.
        width: Hidden width of that network. Defaults to the width of the backbone.
    """

    tokens: int = 20
    projection: bool = False
    width: int | None = None

    def check(self, backbone: Any) -> None:
        from inspect import signature

        super().check(backbone)
        if backbone.config.is_encoder_decoder or "past_key_values" not in signature(backbone.forward).parameters:
            raise UserError(
                f"PrefixTuning passes keys and values to the backbone, which {type(backbone).__name__} does not accept; "
                "use PromptTuning or PTuning"
            )

    def wrap(self, backbone: Any) -> PromptedBackbone:
        from peft import PrefixEncoder, PrefixTuningConfig

        model_config = backbone.config
        queries = model_config.num_attention_heads
        heads = getattr(model_config, "num_key_value_heads", None) or queries
        head_width = getattr(model_config, "head_dim", None) or model_config.hidden_size // queries
        config = PrefixTuningConfig(
            task_type="FEATURE_EXTRACTION",
            num_virtual_tokens=self.tokens,
            token_dim=heads * head_width,
            num_transformer_submodules=1,
            num_attention_heads=heads,
            num_layers=model_config.num_hidden_layers,
            encoder_hidden_size=self.width or model_config.hidden_size,
            prefix_projection=self.projection,
        )
        return PrefixBackbone(backbone, PrefixEncoder(config), config)

"""Methods that learn tokens before the text, which neither heads nor spans of the text see."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.models.backbones import max_positions
from ftlit.tuning.base import Tuning, at_least, not_mergeable

SPECIAL = 2  # tokens of an empty text: what a prompt must leave room for


class Learned(nn.Module):
    """A frozen backbone and learned tokens before its text, called like the backbone, with vectors of the text alone.

    Args:
        base: The backbone.
        encoder: Gives the learned vectors for positions ``(batch, tokens)``.
        config: The configuration of peft that `encoder` was made by.
    """

    def __init__(self, base: Any, encoder: nn.Module, config: Any) -> None:
        super().__init__()
        self.base, self.prompt, self.peft = base, encoder, config
        self.count = config.num_virtual_tokens

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)  # its configuration, embeddings and the like

    def learned(self, batch: int) -> Tensor:
        """The learned vectors for a batch, ``(batch, tokens, any)``."""
        places = torch.arange(self.count, device=self.base.device).expand(batch, -1)
        with torch.autocast(places.device.type, enabled=False):  # few numbers; an LSTM has no 16 bits on processors
            return self.prompt(places)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        **inputs: Any,
    ) -> Any:
        """Like the backbone's; after the first step of generation the learned tokens are in `past_key_values` already."""
        given = input_ids if inputs_embeds is None else inputs_embeds
        assert given is not None
        batch, tokens = given.shape[:2]
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        mask = given.new_ones(batch, max(seen - self.count, 0) + tokens) if attention_mask is None else attention_mask
        inputs["attention_mask"] = torch.cat([mask.new_ones(batch, self.count), mask], 1)
        if position_ids is not None:
            inputs["position_ids"] = position_ids + self.count
        call = self.run if seen == 0 else self.base
        output = call(
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            return_dict=True,
            **{name: value for name, value in inputs.items() if name != "return_dict"},
        )
        output.last_hidden_state = output.last_hidden_state[:, -tokens:]
        if getattr(output, "pooler_output", None) is not None:
            output.pooler_output = self.base.pooler(output.last_hidden_state)
        if inputs.get("use_cache") is False and getattr(output, "past_key_values", None) is not None:
            output.past_key_values = None  # of the prefix: generation would go on with it though it reads the whole text again
        return output

    @abstractmethod
    def run(self, **inputs: Any) -> Any:
        """What the backbone gives for a text with the learned tokens before it; masks and positions know of them."""


class Prompted(Learned):
    """Learned vectors in the place of words."""

    def run(self, **inputs: Any) -> Any:
        ids, embedded = inputs.pop("input_ids"), inputs.pop("inputs_embeds")
        embedded = self.base.get_input_embeddings()(ids) if embedded is None else embedded
        prompt = self.learned(len(embedded)).to(embedded.dtype)
        if inputs.get("token_type_ids") is not None:
            types = inputs["token_type_ids"]
            inputs["token_type_ids"] = torch.cat([types.new_zeros(len(types), self.count), types], 1)
        if "position_ids" in inputs:
            places = torch.arange(self.count, device=embedded.device).expand(len(embedded), -1)
            inputs["position_ids"] = torch.cat([places, inputs["position_ids"]], 1)
        if inputs["past_key_values"] is None:
            del inputs["past_key_values"]  # encoders know no such thing
        return self.base(inputs_embeds=torch.cat([prompt, embedded], 1), **inputs)


class Prefixed(Learned):
    """Learned keys and values in every layer."""

    def run(self, **inputs: Any) -> Any:
        from transformers import DynamicCache

        given = inputs["input_ids"] if inputs["inputs_embeds"] is None else inputs["inputs_embeds"]
        cache = inputs.pop("past_key_values")
        cache = DynamicCache(config=self.base.config) if cache is None else cache
        layers, heads = self.peft.num_layers, self.peft.num_attention_heads
        learned = self.learned(len(given)).view(len(given), self.count, layers, 2, heads, -1)
        for layer in range(layers):
            key, value = learned[:, :, layer].permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, width of a head)
            cache.update(key, value, layer)
        return self.base(past_key_values=cache, **inputs)


class PromptMethod(Tuning):
    """A method that learns tokens before the text and nothing of the backbone."""

    tokens: int

    def __post_init__(self) -> None:
        at_least("tokens", self.tokens, 1)
        if (width := getattr(self, "width", None)) is not None:
            at_least("width", width, 1)

    @property
    def positions(self) -> int:
        return self.tokens

    def check(self, backbone: Any) -> None:
        limit = max_positions(backbone.config)
        if limit is not None and self.tokens + SPECIAL >= limit:
            raise UserError(
                f"model.tuning.tokens is {self.tokens}, and {type(backbone).__name__} has {limit} positions for them and the "
                "text together; take fewer"
            )

    @abstractmethod
    def wrap(self, backbone: Any) -> Learned:
        """The backbone with its learned tokens."""

    def apply(self, backbone: Any) -> nn.Module:
        backbone.requires_grad_(False)
        if not backbone.config.is_encoder_decoder:
            return self.wrap(backbone)
        plain = backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone  # beneath peft's layers
        plain.encoder = self.wrap(plain.encoder)
        return backbone

    def merge(self, backbone: nn.Module) -> nn.Module:
        raise not_mergeable(self)

    def shape(self, backbone: Any) -> dict[str, Any]:
        """What peft's configurations ask of a backbone."""
        width = backbone.get_input_embeddings().embedding_dim
        return {"num_virtual_tokens": self.tokens, "token_dim": width, "num_transformer_submodules": 1}


@dataclass(frozen=True)
class PromptTuning(PromptMethod):
    """Learned vectors before the words of a text (Lester et al., 2021).

    Args:
        tokens: Number of learned vectors; texts have as many positions fewer.
        init: Where they begin: `vocabulary` takes the vectors of random words, `text` those of `text`, `random` draws them.
        text: The words to begin with, repeated or cut to the number of tokens.
    """

    tokens: int = 20
    init: Literal["vocabulary", "text", "random"] = "vocabulary"
    text: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.init == "text") != bool(self.text):
            raise UserError(
                f"model.tuning.init is {self.init!r} and model.tuning.text {self.text!r}: give a text where the prompt begins "
                "with one, and none where it does not"
            )

    def wrap(self, backbone: Any) -> Learned:
        from peft import PromptEmbedding, PromptTuningConfig

        named = {"prompt_tuning_init_text": self.text, "tokenizer_name_or_path": backbone.config.name_or_path}
        config = PromptTuningConfig(
            task_type="FEATURE_EXTRACTION",
            prompt_tuning_init={"vocabulary": "SAMPLE_VOCAB", "text": "TEXT", "random": "RANDOM"}[self.init],
            **(named if self.init == "text" else {}),
            **self.shape(backbone),
        )
        return Prompted(backbone, PromptEmbedding(config, backbone.get_input_embeddings()), config)


@dataclass(frozen=True)
class PTuning(PromptMethod):
    """Vectors before the words of a text that a small network makes (P-tuning; Liu et al., 2021).

    Args:
        tokens: Number of vectors; texts have as many positions fewer.
        encoder: The network.
        width: Width of the network; null for that of the embeddings.
    """

    tokens: int = 20
    encoder: Literal["mlp", "lstm"] = "mlp"
    width: int | None = None

    def wrap(self, backbone: Any) -> Learned:
        from peft import PromptEncoder, PromptEncoderConfig

        shape = self.shape(backbone)
        config = PromptEncoderConfig(
            task_type="FEATURE_EXTRACTION",
            encoder_reparameterization_type=self.encoder.upper(),  # type: ignore[arg-type]
            encoder_hidden_size=self.width or shape["token_dim"],
            **shape,
        )
        return Prompted(backbone, PromptEncoder(config), config)


@dataclass(frozen=True)
class PrefixTuning(PromptMethod):
    """Learned keys and values before those of the text, in every layer (Li and Liang, 2021).

    Args:
        tokens: Number of learned positions; texts have as many fewer.
        projection: Whether a small network makes them, which is steadier and costs parameters.
        width: Width of that network; null for that of the backbone.
    """

    tokens: int = 20
    projection: bool = False
    width: int | None = None

    def check(self, backbone: Any) -> None:
        from inspect import signature

        super().check(backbone)
        if backbone.config.is_encoder_decoder or "past_key_values" not in signature(backbone.forward).parameters:
            raise UserError(
                f"PrefixTuning hands the backbone keys and values of its own, which {type(backbone).__name__} does not take; "
                "use PromptTuning or PTuning"
            )

    def wrap(self, backbone: Any) -> Learned:
        from peft import PrefixEncoder, PrefixTuningConfig

        known = backbone.config
        queries = known.num_attention_heads
        heads = getattr(known, "num_key_value_heads", None) or queries
        head_width = getattr(known, "head_dim", None) or known.hidden_size // queries
        config = PrefixTuningConfig(
            task_type="FEATURE_EXTRACTION",
            num_virtual_tokens=self.tokens,
            token_dim=heads * head_width,
            num_transformer_submodules=1,
            num_attention_heads=heads,
            num_layers=known.num_hidden_layers,
            encoder_hidden_size=self.width or known.hidden_size,
            prefix_projection=self.projection,
        )
        return Prefixed(backbone, PrefixEncoder(config), config)

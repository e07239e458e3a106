"""Backbones with a learned prompt before the text."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class PromptedBackbone(nn.Module):
    """A frozen backbone with a learned prompt. It is called like the backbone and returns the hidden states of the text only.

    Args:
        base: The backbone.
        encoder: Module that returns the prompt's vectors for positions ``(batch, tokens)``.
        config: The peft config of `encoder`.
    """

    def __init__(self, base: Any, encoder: nn.Module, config: Any) -> None:
        super().__init__()
        self.base, self.prompt, self.prompt_config = base, encoder, config
        self.length = config.num_virtual_tokens

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)  # such as its config and embeddings

    def freeze_prompt(self) -> None:
        """Replace the network that generates the prompt's vectors by a table of them."""
        self.prompt = nn.Embedding.from_pretrained(self.prompt_vectors(1)[0].detach())

    def prompt_vectors(self, batch_size: int) -> Tensor:
        """Return the prompt's vectors for a batch, ``(batch, tokens, any)``."""
        positions = torch.arange(self.length, device=self.base.device).expand(batch_size, -1)
        if isinstance(self.prompt, nn.Embedding):
            return self.prompt(positions)
        with torch.autocast(positions.device.type, enabled=False):  # cheap, and an LSTM does not run in 16 bits on CPUs
            return self.prompt(positions)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        **inputs: Any,
    ) -> Any:
        """Run the backbone. After the first step of generation, `past_key_values` already contains the prompt."""
        given = input_ids if inputs_embeds is None else inputs_embeds
        assert given is not None
        batch, tokens = given.shape[:2]
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        mask = given.new_ones(batch, max(seen - self.length, 0) + tokens) if attention_mask is None else attention_mask
        inputs["attention_mask"] = torch.cat([mask.new_ones(batch, self.length), mask], 1)
        if position_ids is not None:
            inputs["position_ids"] = position_ids + self.length
        call = self.run_with_prompt if seen == 0 else self.base
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
            output.past_key_values = (
                None  # generation without a cache reads the whole text again, and must not find the prefix in a cache
            )
        return output

    @abstractmethod
    def run_with_prompt(self, **inputs: Any) -> Any:
        """Run the backbone on the prompt and the text. Masks and positions already account for the prompt."""


class SoftPromptBackbone(PromptedBackbone):
    """A backbone whose prompt is a sequence of input embeddings."""

    def run_with_prompt(self, **inputs: Any) -> Any:
        ids, embedded = inputs.pop("input_ids"), inputs.pop("inputs_embeds")
        embedded = self.base.get_input_embeddings()(ids) if embedded is None else embedded
        batch = embedded.shape[0]  # a size that stays open when the model is traced, unlike that of len
        prompt = self.prompt_vectors(batch).to(embedded.dtype)
        if inputs.get("token_type_ids") is not None:
            types = inputs["token_type_ids"]
            inputs["token_type_ids"] = torch.cat([types.new_zeros(batch, self.length), types], 1)
        if "position_ids" in inputs:
            positions = torch.arange(self.length, device=embedded.device).expand(batch, -1)
            inputs["position_ids"] = torch.cat([positions, inputs["position_ids"]], 1)
        if inputs["past_key_values"] is None:
            del inputs["past_key_values"]  # encoders do not accept it
        return self.base(inputs_embeds=torch.cat([prompt, embedded], 1), **inputs)


class PrefixBackbone(PromptedBackbone):
    """A backbone whose prompt is a sequence of keys and values in every layer."""

    def run_with_prompt(self, **inputs: Any) -> Any:
        from transformers import DynamicCache

        from ftlit.models.gradient_checkpointing import PrefixCache

        given = inputs["input_ids"] if inputs["inputs_embeds"] is None else inputs["inputs_embeds"]
        cache = inputs.pop("past_key_values")
        if cache is None:  # in generation it is given, and takes the tokens of the text too
            cache = PrefixCache(config=self.base.config) if self.training else DynamicCache(config=self.base.config)
        layers, heads = self.prompt_config.num_layers, self.prompt_config.num_attention_heads
        batch = given.shape[0]
        vectors = self.prompt_vectors(batch).view(batch, self.length, layers, 2, heads, -1)
        for layer in range(layers):
            key, value = vectors[:, :, layer].permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, head width)
            cache.update(key, value, layer)
        if isinstance(cache, PrefixCache):
            cache.complete = True
        return self.base(past_key_values=cache, **inputs)

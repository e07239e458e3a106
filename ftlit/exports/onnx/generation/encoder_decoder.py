"""Trace an encoder-decoder as two graphs.

The encoder also returns the keys and values of the decoder's cross-attention, which stay the same while a text is written.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ftlit.exports.onnx.generation.cache import TOKENS, cache_names, cache_of, example_of, named, some_ids, tensors_of
from ftlit.exports.onnx.generation.generate import DECODER, ENCODER
from ftlit.exports.onnx.graph import trace


class CrossEncoder(nn.Module):
    """The encoder of an encoder-decoder, and the layers of the decoder that make keys and values of its output.

    Args:
        model: The encoder-decoder.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        """Return the hidden states of the encoder, and the keys and values, for the inputs of the encoder."""
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        some = inputs["input_ids"][:, :2] * 0  # tokens of the decoder do not change what it reads of the encoder
        found = self.model(**inputs, decoder_input_ids=some, past_key_values=cache, use_cache=True)
        hidden = found.encoder_last_hidden_state
        return named(tensors_of(cache.cross_attention_cache), "encoder", last_hidden_state=hidden)


class CrossDecoder(nn.Module):
    """The decoder of an encoder-decoder, which is given the keys and values of the encoder and of earlier tokens.

    Args:
        model: The encoder-decoder.
        width: Width of the hidden states of the encoder.
    """

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__()
        self.model, self.width = model, width

    def forward(self, input_ids: Tensor, encoder_attention_mask: Tensor, **past: Tensor) -> SimpleNamespace:
        """Return the logits and the cache of the decoder.

        Args:
            input_ids: New tokens of the targets, ``(rows, tokens)``.
            encoder_attention_mask: Zeros where sources are padded, ``(rows, source)``.
            **past: Keys and values of the decoder, then those of the encoder.
        """
        values = list(past.values())
        half = len(values) // 2
        cache = EncoderDecoderCache(cache_of(values[:half]), cache_of(values[half:]))
        hidden = encoder_attention_mask.unsqueeze(-1).float().expand(-1, -1, self.width)  # only its shape has an effect
        found = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),  # type: ignore[arg-type]
            attention_mask=encoder_attention_mask,
            decoder_input_ids=input_ids,
            past_key_values=cache,
            use_cache=True,
        )
        return named(tensors_of(cache.self_attention_cache), "decoder", logits=found.logits)


def write_pair(model: Any, inputs: dict[str, Tensor], folder: Path) -> None:
    """Write the graphs of an encoder-decoder.

    Args:
        model: The model, without the wrapper of peft.
        inputs: Inputs of the encoder for some sources, with no size of 1.
        folder: The exported folder.

    Raises:
        UntraceableError: The exporter of PyTorch cannot follow the model.
    """
    batch, cache = Dim("batch"), EncoderDecoderCache(DynamicCache(), DynamicCache())
    with torch.no_grad():
        found = model(**inputs, decoder_input_ids=some_ids(TOKENS), past_key_values=cache, use_cache=True)
    layers = len(cache.cross_attention_cache.layers)
    outputs = ["last_hidden_state", *cache_names("present", layers, "encoder")]
    dynamic = tuple({0: batch, 1: Dim("source")} for _ in inputs)
    trace(CrossEncoder(model), inputs, outputs, dynamic, folder / ENCODER)
    own, own_sizes = example_of(cache.self_attention_cache, "decoder")
    given, given_sizes = example_of(cache.cross_attention_cache, "encoder")
    example = {"input_ids": some_ids(TOKENS), "encoder_attention_mask": inputs["attention_mask"], **own, **given}
    sizes = ({0: batch, 1: Dim("tokens")}, {0: batch, 1: Dim("source")}, *own_sizes, *given_sizes)
    outputs = ["logits", *cache_names("present", layers, "decoder")]
    width = found.encoder_last_hidden_state.shape[2]
    trace(CrossDecoder(model, width), example, outputs, sizes, folder / DECODER, tied=True)

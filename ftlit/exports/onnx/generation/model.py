"""Graphs in the place of a model of transformers, whose `generate` follows every setting of the run."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast, ModelOutput, Seq2SeqLMOutput

from ftlit.exports.onnx.generation.cache import cache_names, cache_of, tensors_of
from ftlit.exports.onnx.generation.generate import CHUNK, DECODER, ENCODER, SETTINGS
from ftlit.exports.onnx.runtime import GRAPH, OnnxGraph, start_session
from ftlit.exports.traced.model import GraphModel

HIDDEN = "last_hidden_state"
Tensors = dict[str, Tensor]


class Session:
    """A graph that takes and returns tensors.

    Args:
        file: The graph.
    """

    def __init__(self, file: Path) -> None:
        self.session = start_session(file)
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.shapes = {given.name: given.shape for given in self.session.get_inputs()}

    def __call__(self, **inputs: Tensor) -> Tensors:
        """Return the outputs by their names."""
        given = {name: value.cpu().numpy() for name, value in inputs.items() if name in self.shapes}
        found = self.session.run(None, given)
        return {name: torch.from_numpy(value) for name, value in zip(self.outputs, found, strict=True)}


class TextGraph(PreTrainedModel, GenerationMixin):
    """Base class of graphs that write texts.

    Args:
        folder: The folder of the graphs.
        model: The model from which they were made; its weights are not used.
        file: Name of the graph that writes.
        part: Which part of the names of keys and values says that they are the decoder's.
    """

    _supports_sdpa = True
    own_threads = True

    def __init__(self, folder: Path, model: Any, file: str, part: str = "") -> None:
        super().__init__(model.config)
        self.generation_config = GenerationConfig.from_pretrained(folder)
        self.graph, self._tables = Session(folder / file), [model.get_input_embeddings()]  # for their number alone
        layers = sum(name.startswith("present") for name in self.graph.outputs) // 2
        self.past, self.present = (cache_names(start, layers, part) for start in ("past_key_values", "present"))

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def get_input_embeddings(self) -> nn.Module:
        return self._tables[0]

    def read(self, ids: Tensor, cache: Any, **others: Tensor) -> tuple[Tensor, DynamicCache]:
        """Return the logits of new tokens, and the cache with them.

        Args:
            ids: The tokens, ``(rows, tokens)``.
            cache: Keys and values of earlier tokens; None or an empty cache at the beginning.
            **others: Other inputs of the graph.
        """
        known = tensors_of(cache) if cache is not None and cache.get_seq_length() else self._empty(len(ids))
        found = self.graph(input_ids=ids, **dict(zip(self.past, known, strict=True)), **others)
        return found["logits"], cache_of([found[name] for name in self.present])

    def _empty(self, rows: int) -> list[Tensor]:
        shapes = (self.graph.shapes[name] for name in self.past)
        return [torch.zeros(rows, heads, 0, width) for _, heads, _, width in shapes]


class DecoderGraph(TextGraph):
    """The graph of a decoder.

    Args:
        folder: The folder of the graph.
        model: The model from which it was made.
    """

    def __init__(self, folder: Path, model: Any) -> None:
        super().__init__(folder, model, GRAPH)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        use_cache: bool = True,
        logits_to_keep: int = 0,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """Return the logits of new tokens, which are read a part at a time, and the cache.

        Args:
            input_ids: The tokens, ``(rows, tokens)``.
            attention_mask: Zeros where tokens are padding, ``(rows, earlier and new tokens)``.
            past_key_values: Keys and values of earlier tokens.
            use_cache: Whether to return the cache.
            logits_to_keep: How many of the last logits are needed at least; 0 for all.
            **others: Without effect.
        """
        earlier = 0 if past_key_values is None else past_key_values.get_seq_length()
        rows, tokens = input_ids.shape
        mask = input_ids.new_ones(rows, earlier + tokens) if attention_mask is None else attention_mask
        parts, cache = list[Tensor](), past_key_values
        for part in input_ids.split(CHUNK, dim=1):
            earlier += part.shape[1]
            logits, cache = self.read(part, cache, attention_mask=mask[:, :earlier])
            parts = [*(parts if logits_to_keep == 0 else []), logits]
        return CausalLMOutputWithPast(logits=torch.cat(parts, 1), past_key_values=cache if use_cache else None)  # type: ignore[arg-type]


class EncoderGraph(nn.Module):
    """The graph of the encoder of an encoder-decoder.

    Args:
        file: The graph.
    """

    main_input_name = "input_ids"

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.session = Session(file)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None, **kwargs: Any) -> ModelOutput:
        """Return the hidden states, and the keys and values that the decoder reads, by their names."""
        given = {"input_ids": input_ids, "token_type_ids": token_type_ids, **kwargs}
        return ModelOutput(self.session(**{name: value for name, value in given.items() if isinstance(value, Tensor)}))


class EncoderDecoderGraph(TextGraph):
    """The graphs of an encoder-decoder.

    Args:
        folder: The folder of the graphs.
        model: The model from which they were made.
    """

    def __init__(self, folder: Path, model: Any) -> None:
        super().__init__(folder, model, DECODER, "decoder")
        self.encoder = EncoderGraph(folder / ENCODER)

    def get_encoder(self, *args: Any, **options: Any) -> nn.Module:
        return self.encoder

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: EncoderDecoderCache | None = None,
        use_cache: bool = True,
        **others: Any,
    ) -> Seq2SeqLMOutput:
        """Return the logits of new tokens of the targets, and the cache.

        Args:
            input_ids: The sources, ``(rows, source)``, where `encoder_outputs` are not given.
            attention_mask: Zeros where sources are padded, ``(rows, source)``.
            decoder_input_ids: New tokens of the targets, ``(rows, tokens)``.
            encoder_outputs: What the encoder returned.
            past_key_values: Keys and values of earlier tokens, and of the encoder.
            use_cache: Whether to return the cache.
            **others: Other inputs of the encoder.
        """
        assert decoder_input_ids is not None
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **others)
        own = None if past_key_values is None else past_key_values.self_attention_cache
        read = {name.replace("present", "past_key_values"): value for name, value in encoder_outputs.items() if name != HIDDEN}
        if attention_mask is None:
            attention_mask = torch.ones(encoder_outputs[HIDDEN].shape[:2], dtype=torch.long)
        logits, cache = self.read(decoder_input_ids, own, encoder_attention_mask=attention_mask, **read)
        both = EncoderDecoderCache(cache, DynamicCache()) if use_cache else None
        return Seq2SeqLMOutput(logits=logits, past_key_values=both)  # type: ignore[arg-type]


def open_graph(folder: Path, model: Any) -> TextGraph | GraphModel:
    """Open what a folder has in the place of a model.

    Args:
        folder: The folder.
        model: The model from which the graphs were made; its weights are not used.

    Raises:
        UserError: ONNX Runtime is not installed, or a file is damaged.
    """
    if not (folder / SETTINGS).is_file():
        return GraphModel(OnnxGraph(folder / GRAPH), model)
    return (EncoderDecoderGraph if model.config.is_encoder_decoder else DecoderGraph)(folder, model)

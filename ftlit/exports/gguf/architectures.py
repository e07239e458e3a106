"""Architectures of llama.cpp: which models of transformers they are, and their settings and weights in a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ftlit.errors import UserError


@dataclass(frozen=True)
class Architecture:
    """An architecture of llama.cpp.

    Args:
        name: Its name in a file.
        pairs: Whether positions rotate neighbouring rows of a head's queries and keys, and not its two halves.
    """

    name: str
    pairs: bool = False


ARCHITECTURES = {  # by the names of transformers
    "llama": Architecture("llama", pairs=True),
    "mistral": Architecture("llama", pairs=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
}
# Settings whose other values have no place in a file, or none that transformers reads.
FIXED: dict[str, Any] = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "use_sliding_window": False}


def check_architecture(config: Any) -> None:
    """Check that a model can be written.

    Raises:
        UserError: It cannot.
    """
    if config.model_type not in ARCHITECTURES:
        raise UserError(
            f"--format gguf takes models like {', '.join(ARCHITECTURES)}, but model.backbone is a {config.model_type}; use "
            "--format onnx, or leave --format out"
        )
    rope = {"rope_type": config.rope_parameters.get("rope_type", "default")}
    for name, value in {**{name: getattr(config, name, fixed) for name, fixed in FIXED.items()}, **rope}.items():
        expected = FIXED.get(name, "default")
        if value != expected:
            raise UserError(
                f"--format gguf takes models with {name} {expected!r}, but that of model.backbone is {value!r}; leave --format "
                "out"
            )


def add_settings(writer: Any, config: Any) -> None:
    """Add the settings of a model to the writer of a file."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(_context(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def _context(config: Any) -> int:
    """The tokens of a text; llama.cpp does not know the window of a Mistral, within which the model is the same."""
    window = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    return min(config.max_position_embeddings, window or config.max_position_embeddings)


def weights_of(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a model, with their names and their order of rows in a file.

    Raises:
        UserError: The architecture has no such weight.
    """
    import gguf

    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.name)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # read from the embeddings
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise UserError(f"--format gguf: the architecture {architecture.name} has no weight {name}; leave --format out")
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        yield found, in_pairs(weight, heads) if architecture.pairs and heads else weight


def in_pairs(weight: Tensor, heads: int) -> Tensor:
    """Reorder the rows of queries or keys, of which positions rotate the halves of a head, so that they rotate neighbours.

    Args:
        weight: The weight, with the rows of one head after the other.
        heads: Number of heads.
    """
    return weight.view(heads, 2, -1, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)

"""Load a pretrained model, and know where its layers are."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from ftlit.errors import UserError
from ftlit.files import resolve_package_path
from ftlit.gguf import converted

# Models whose position ids start behind the padding id, so that two positions are never usable.
OFFSET_POSITIONS = {
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "longformer",
    "roberta-prelayernorm",
    "data2vec-text",
}


def locate(backbone: str) -> str:
    """The folder of a backbone named by ``package:<module>/<path>`` or by a path, or else its hub name.

    A GGUF file is converted into a folder first.

    Raises:
        UserError: The package, the folder or the file does not exist, or the file cannot be converted.
    """
    path = resolve_package_path(backbone) if backbone.startswith("package:") else Path(backbone).expanduser()
    if path.is_dir():
        return str(path)
    if path.suffix.lower() == ".gguf":
        return str(converted(path))
    if backbone.startswith((".", "/", "~")) or backbone.count("/") > 1 or path.is_file():
        raise UserError(
            f"model.backbone {backbone!r} is not a folder; give a folder of a Hugging Face model, a .gguf file or a hub name"
        )
    return backbone


def _unreachable(backbone: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(
        f"model.backbone {backbone!r} could not be loaded: it is neither a model folder here, nor in the local cache, "
        f"nor reachable on the hub ({reason}); give a folder, a hub name, or package:<module>/<path>"
    )


def load_config(backbone: str, trust_remote_code: bool = False) -> PretrainedConfig:
    """The configuration of a backbone.

    Raises:
        UserError: The backbone cannot be found.
    """
    try:
        return AutoConfig.from_pretrained(locate(backbone), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _unreachable(backbone, error) from error


def load_model(
    auto_class: Any, backbone: str, trust_remote_code: bool = False, **config: Any
) -> tuple[nn.Module, list[nn.Parameter]]:
    """A pretrained model in float32 and training mode, and the weights that its files do not hold.

    Args:
        auto_class: One of the ``AutoModel…`` classes of transformers.
        backbone: Folder, hub name, or ``package:<module>/<path>``.
        trust_remote_code: Whether code that comes with the model may run.
        config: Changes to the model's configuration, such as ``num_labels``.

    Returns:
        The model, and its freshly initialised weights: these must be trained whatever the tuning method.

    Raises:
        UserError: The backbone cannot be found.
    """
    source = locate(backbone)
    try:
        model, info = auto_class.from_pretrained(
            source,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # a head that was trained for other labels starts afresh
            trust_remote_code=trust_remote_code,
            **config,
        )
    except (OSError, ValueError) as error:
        raise _unreachable(backbone, error) from error
    missing = set(info["missing_keys"]) | {name for name, *_ in info["mismatched_keys"]}
    fresh = [weight for name, weight in model.named_parameters() if name in missing]
    return model.train(), fresh  # from_pretrained leaves eval mode, and Lightning keeps it


def load_tokenizer(backbone: str, pad_token: str | None = None, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone, with a pad token.

    Raises:
        UserError: The backbone cannot be found, or its tokenizer has no pad token and none was given.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(locate(backbone), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _unreachable(backbone, error) from error
    if pad_token is not None:
        if tokenizer.convert_tokens_to_ids(pad_token) in (None, tokenizer.unk_token_id):
            raise UserError(f"data.pad_token {pad_token!r} is not a token of {backbone!r}")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token_id is None:
        likely = [t for t in (tokenizer.eos_token, tokenizer.unk_token) if t]
        raise UserError(
            f"the tokenizer of {backbone!r} has no pad token; name one of its tokens with data.pad_token"
            + (f", for example {likely[0]!r}" if likely else "")
        )
    return tokenizer


def max_positions(config: PretrainedConfig) -> int | None:
    """The longest input in tokens that a model takes, or None where it has no limit."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return None
    return limit - 2 if config.model_type in OFFSET_POSITIONS else limit


def layer_stack(backbone: nn.Module) -> tuple[str, nn.ModuleList]:
    """The repeated layers of a backbone, bottom first, and their name: its longest ``ModuleList``."""
    stacks = [(name, module) for name, module in backbone.named_modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        raise UserError(f"{type(backbone).__name__} has no stack of layers; use a tuning method that needs none")
    return max(stacks, key=lambda item: (len(item[1]), -item[0].count(".")))


def depths(backbone: nn.Module) -> dict[str, int]:
    """How deep each parameter lies: 0 for embeddings, 1 to n for the n layers, n + 1 for what follows them."""
    prefix, stack = layer_stack(backbone)
    beside = prefix[: prefix.rfind(".") + 1]
    tables = tuple(f"{name}." for name, module in backbone.named_modules() if isinstance(module, nn.Embedding))
    depth, found, shared = {}, 0, False
    for name, _ in backbone.named_parameters(remove_duplicate=False):
        if name.startswith(prefix + "."):
            depth[name] = found = int(name[len(prefix) + 1 :].split(".")[0]) + 1
        else:
            # DeBERTa and MPNet register the relative positions that every layer uses, and their norm, behind the layers.
            shared = found > 0 and name.startswith(beside) and (shared or name.startswith(tables))
            depth[name] = len(stack) + 1 if found and not shared else 0
    return depth

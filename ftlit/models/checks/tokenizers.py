"""Check that a model folder has a tokenizer, and that the model knows the token types that it returns."""

from pathlib import Path

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ftlit.errors import UserError

FILES = ("tokenizer.json", "*vocab*", "*.model", "*.spm", "merges.txt", "*.tiktoken", "tekken.json")
OTHERS = 3  # tokens beside the special ones that transformers may add to an empty vocabulary


def missing_tokenizer(backbone: str) -> UserError:
    """Return the error for a model without a tokenizer."""
    return UserError(
        f"model.backbone {backbone!r} has no tokenizer: expected tokenizer.json, or a vocabulary such as vocab.txt, beside its "
        "config.json; copy the files of the tokenizer that it was trained with there"
    )


def has_tokenizer_files(folder: str) -> bool:
    """Whether a folder holds any file of a tokenizer's vocabulary."""
    return any(True for pattern in FILES for _ in Path(folder).glob(pattern))


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, place: str, backbone: str) -> None:
    """Check that a tokenizer has a vocabulary. Without its files, transformers makes one that knows special tokens only.

    Args:
        tokenizer: The tokenizer.
        place: The folder from which it was loaded, or its name on the hub.
        backbone: Name of the model, for the message.

    Raises:
        UserError: If it has none.
    """
    names = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not tokenizer.vocab_files_names:  # such as ByT5, which reads bytes
        return
    known = len(tokenizer) - len(set(tokenizer.all_special_ids))
    if known <= OTHERS or (Path(place).is_dir() and not any((Path(place) / name).is_file() for name in names)):
        raise missing_tokenizer(backbone)


def drop_unknown_types(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Let a tokenizer return no token types if the model knows only one, as RoBERTa: type 1 would be out of its table."""
    if getattr(config, "type_vocab_size", None) == 1:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]

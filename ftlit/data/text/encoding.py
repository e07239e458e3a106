"""Texts to tokens, once: the result is cached by `datasets` under all that it depends on."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.util.private import rows_hash

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

PACKAGES = ("ftlit", "lightning", "abc", "builtins", "typing")  # whose classes are data modules, beside those of users
ENCODING_VERSION = 5  # raised whenever rows are encoded differently, so that no old cache is served


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", max_length: int, texts: list[str], pairs: list[str] | None = None
) -> dict[str, list[Any]]:
    """Model inputs of texts or pairs, truncated to `max_length` tokens, and whether each was.

    Returns:
        Columns ``input_ids``, ``token_type_ids`` where the model has them, and ``truncated``.
    """
    given = [texts] if pairs is None else [texts, pairs]
    columns = dict(tokenizer(*given, truncation=False, return_attention_mask=False))
    long = [i for i, ids in enumerate(columns["input_ids"]) if len(ids) > max_length]
    if long:
        again = [[column[i] for i in long] for column in given]
        cut = tokenizer(*again, truncation=True, max_length=max_length, return_attention_mask=False)
        for name in columns:
            for i, values in zip(long, cut[name], strict=True):
                columns[name][i] = values
    truncated = set(long)
    return {**columns, "truncated": [i in truncated for i in range(len(texts))]}


def tokenizer_state(tokenizer: "PreTrainedTokenizerBase") -> str:
    """All that a tokenizer is: its backend, and what its Python class adds to it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    core = backend.to_str() if backend else [tokenizer.get_vocab(), repr(tokenizer)]
    own = [tokenizer.model_input_names, tokenizer.truncation_side, tokenizer.special_tokens_map]
    return json.dumps([core, *own], default=str)


def source_of(kind: type) -> list[str]:
    """The code of a class and of what it is made of, from outside the package: a user's own, which may change any time."""
    return [_source(part) for part in kind.__mro__ if part.__module__.split(".")[0] not in PACKAGES]


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt
        return f"{kind.__module__}.{kind.__qualname__}"


def encoded(rows: "Dataset", encode: Callable[[Any], Any], settings: list[Any]) -> "Dataset":
    """The encoded rows, from the cache where the same rows were encoded in the same way before.

    Args:
        rows: The rows, whose own fingerprint tells their content.
        encode: From columns of rows to columns of features; where a row becomes several features or none, the column
            ``row`` tells of each feature from which of the given rows it comes.
        settings: All that `encode` depends on.

    Returns:
        The features, their column ``row`` counted over the whole split.
    """
    import datasets
    from datasets.fingerprint import Hasher

    datasets.disable_progress_bars()
    key = Hasher.hash([rows_hash(rows), *settings, ENCODING_VERSION])
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "ftlit"
    cache.mkdir(parents=True, exist_ok=True)
    file = str(cache / f"{key}.arrow")

    def numbered(columns: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        features = encode(columns)
        return {**features, "row": [indices[i] for i in features.get("row", range(len(indices)))]}

    return rows.map(
        numbered,
        batched=True,
        with_indices=True,
        remove_columns=rows.column_names,
        new_fingerprint=key,
        cache_file_name=file,
    )

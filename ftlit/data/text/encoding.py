"""From texts to tokens; features are cached by `datasets` under a key of everything they depend on."""

import inspect
import json
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.data.text.lengths import Lengths, sequence_sizes, unknown_id
from ftlit.errors import UserError
from ftlit.util.cache import cache_file, cache_json, cached_json
from ftlit.util.private import rows_hash

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

VERSIONED_PACKAGES = ("ftlit", "lightning", "abc", "builtins", "typing")  # whose code is not part of the key; that of users is
ENCODING_VERSION = 7  # to be raised whenever rows are encoded differently, so that old caches are not used


class Encoder:
    """Encodes texts with the backbone's tokenizer, and whole splits with a cache.

    Args:
        tokenizer: The backbone's tokenizer.
        max_length: Number of tokens after which a text is truncated.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.lengths: dict[str, Lengths] = {}  # of the encoded rows, by their hash
        self._counted: Lengths | None = None  # those of the rows that are being encoded

    @cached_property
    def state(self) -> str:
        """The state of the tokenizer, to be read before its first use, which changes its truncation."""
        return tokenizer_state(self.tokenizer)

    def check_room(self, pair: bool, backbone: str) -> None:
        """Check that `max_length` leaves room for text beside the special tokens.

        Raises:
            UserError: If it does not.
        """
        special = self.tokenizer.num_special_tokens_to_add(pair=pair)
        if self.max_length <= special:
            raise UserError(
                f"data.max_length should be above {special}, the number of special tokens that the tokenizer of "
                f"{backbone!r} adds, got {self.max_length}"
            )

    def tokenize(
        self, texts: list[str], pairs: list[str] | None = None, parts: tuple[str, ...] = ("text", "text_pair")
    ) -> dict[str, list[Any]]:
        """Model inputs of texts or pairs, as `tokenize` returns them.

        Args:
            texts: The texts.
            pairs: The second texts of pairs.
            parts: Names of the first and the second texts in the report.
        """
        names = parts[: 1 if pairs is None else 2]
        return tokenize(self.tokenizer, self.max_length, texts, pairs, lambda found: self._count_uncut(found, names))

    def _count_uncut(self, found: Any, parts: tuple[str, ...]) -> None:
        if self._counted is None:
            return
        for i, part in enumerate(parts if len(parts) > 1 else ()):
            if (sizes := sequence_sizes(found, i)) is not None:
                self._counted.add(part, sizes)
        special = self.tokenizer.num_special_tokens_to_add(pair=len(parts) > 1)
        self.count(" and ".join(parts), found["input_ids"], "max_length", special)

    @property
    def counting(self) -> bool:
        """Whether the tokens of texts are counted, since a split is being encoded."""
        return self._counted is not None

    def count(
        self,
        part: str,
        ids: Iterable[list[int]],
        option: str | None = None,
        special: int = 0,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
    ) -> None:
        """Count the tokens of texts for the report, before they are cut; this does nothing unless a split is being encoded.

        Args:
            part: Name of this part of the texts in the report, such as `target`.
            ids: Ids of the tokens of each text.
            option: The option of `data` that limits their number.
            special: Number of special tokens in each.
            tokenizer: Their tokenizer, if it is not that of the backbone.
        """
        if self._counted is not None and (texts := list(ids)):
            unknown = unknown_id(tokenizer or self.tokenizer)
            found = 0 if unknown is None else sum(text.count(unknown) for text in texts)
            self._counted.add(part, map(len, texts), option, special * len(texts), found)

    def encode(self, rows: "Dataset", encode: Callable[[Any], Any], settings: list[Any]) -> "Dataset":
        """The features of rows, as `encoded` returns them; the lengths of their texts are kept beside them.

        Args:
            rows: The rows.
            encode: From columns of rows to columns of features.
            settings: Everything that `encode` depends on, except the tokenizer.
        """
        file = cache_file([rows_hash(rows), self.state, *settings, ENCODING_VERSION], ".arrow")
        beside = file.with_suffix(".lengths.json")
        known = cached_json(beside)
        if known is not None:
            self.lengths[rows_hash(rows)] = Lengths.from_json(known)
            return encoded(rows, encode, file)
        self._counted = self.lengths[rows_hash(rows)] = Lengths()
        try:
            found = encoded(rows, encode, file, again=True)
        finally:
            self._counted = None
        cache_json(beside, self.lengths[rows_hash(rows)].to_json())
        return found

    def digest(self, settings: list[Any]) -> str:
        """A hash of the tokenizer and the settings of an encoding."""
        from datasets.fingerprint import Hasher

        return Hasher.hash([self.state, *settings])


def require_offsets(tokenizer: "PreTrainedTokenizerBase", backbone: str, user: str) -> None:
    """Check that the tokenizer knows the position of each token in the text; those written in Python do not.

    Raises:
        UserError: If it does not.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer of {backbone!r} does not report the position of each token in the text, which {user} needs; "
            "choose another model.backbone"
        )


def tokenize(
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    texts: list[str],
    pairs: list[str] | None = None,
    uncut: Callable[[Any], None] | None = None,
) -> dict[str, list[Any]]:
    """Model inputs of texts or pairs, truncated to `max_length` tokens.

    Args:
        tokenizer: The tokenizer.
        max_length: Number of tokens after which a text is truncated.
        texts: The texts.
        pairs: The second texts of pairs.
        uncut: Called with what the tokenizer returns before anything is truncated.

    Returns:
        The columns ``input_ids``, ``token_type_ids`` if the model has them, and ``truncated``, whether a text was truncated.
    """
    given = [texts] if pairs is None else [texts, pairs]
    found = tokenizer(*given, truncation=False, return_attention_mask=False)
    if uncut:
        uncut(found)
    columns = dict(found)
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
    """Everything that decides what a tokenizer returns: its backend, and what its Python class adds."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    core = backend.to_str() if backend else [tokenizer.get_vocab(), repr(tokenizer)]
    own = [tokenizer.model_input_names, tokenizer.truncation_side, tokenizer.special_tokens_map]
    return json.dumps([core, *own], default=str)


def source_of(kind: type) -> list[str]:
    """The code of a class and its bases outside the package: code of users, which may change at any time."""
    return [_source(part) for part in kind.__mro__ if part.__module__.split(".")[0] not in VERSIONED_PACKAGES]


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt
        return f"{kind.__module__}.{kind.__qualname__}"


def encoded(rows: "Dataset", encode: Callable[[Any], Any], file: Path, again: bool = False) -> "Dataset":
    """The encoded rows, read from the cache if the same rows were encoded in the same way before.

    Args:
        rows: The rows.
        encode: From columns of rows to columns of features. If a row may become several features or none, the column ``row``
            holds the position of each feature's row among the given rows.
        file: Where they are cached; its name stands for the rows and everything that `encode` depends on.
        again: Whether to encode them even if they are cached.

    Returns:
        The features, with positions in the whole split as column ``row``.
    """
    import datasets

    datasets.disable_progress_bars()

    def numbered(columns: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        features = encode(columns)
        return {**features, "row": [indices[i] for i in features.get("row", range(len(indices)))]}

    return rows.map(
        numbered,
        batched=True,
        with_indices=True,
        remove_columns=rows.column_names,
        new_fingerprint=file.stem,
        cache_file_name=str(file),
        load_from_cache_file=False if again else None,
    )


def frame(tokenizer: "PreTrainedTokenizerBase") -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and after a text."""
    found = tokenizer("a", return_special_tokens_mask=True)
    ids, inside = found["input_ids"], [i for i, mark in enumerate(found["special_tokens_mask"]) if not mark]
    return ids[: inside[0]], ids[inside[-1] + 1 :]


def unfinished(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> list[list[int]]:
    """The tokens of texts that are to be continued, without the tokens that end texts."""
    behind = len(frame(tokenizer)[1])
    found = tokenizer(texts, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
    return [ids[: len(ids) - behind] for ids in found]

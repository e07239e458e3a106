"""From the texts of conversations to tokens: which of them have a label, and the text of a reply as generation writes it."""

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ftlit.util.batch import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]


class Tokens(NamedTuple):
    """The tokens of a text and the characters of each. Those of a special token are its own, without white space around it."""

    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


class ChatTokenizer:
    """Tokenizes conversations so that each prompt has the same tokens with and without the reply after it.

    Args:
        tokenizer: A tokenizer that knows the position of each token in the text.
        special: The special tokens by their ids.
        stop_id: Id of the token that closes a reply.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", special: Mapping[int, str], stop_id: int) -> None:
        self.tokenizer, self.special, self.stop_id = tokenizer, special, stop_id

    def prompts(self, texts: list[str], starts: list[list[int]]) -> list[list[int]]:
        """The tokens of prompts.

        Args:
            texts: The prompts.
            starts: Where replies begin in each of them. A token that would reach across is divided there, as in training.
        """
        if not any(starts):
            return self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []  # type: ignore[return-value]
        found = zip(texts, self._whole(texts), starts, strict=True)
        return [self._divided(text, whole, at).ids.tolist() for text, whole, at in found]

    def tokens(self, texts: list[str], starts: list[list[int]], prompts: list[str]) -> tuple[list[Tokens], list[list[int]]]:
        """The tokens of texts with their characters, and those of prompts.

        Args:
            texts: The texts.
            starts: Where replies begin in each text.
            prompts: The beginning of each text that is the prompt for a reply, or an empty text.
        """
        asked = self.prompts(prompts, [[] for _ in prompts])
        found = []
        for i, (text, whole, prompt) in enumerate(zip(texts, self._whole(texts), prompts, strict=True)):
            tokens = self._divided(text, whole, starts[i])
            if tokens is not whole and text.startswith(prompt):
                asked[i] = self.prompts([prompt], [[at for at in starts[i] if at < len(prompt)]])[0]
            found.append(self._after(prompt, asked[i], text, tokens))
        return found, asked

    def _after(self, prompt: str, ids: list[int], text: str, tokens: Tokens) -> Tokens:
        """The tokens of a text, beginning with those of its prompt, which may depend on what follows."""
        same = tokens.ids[: len(ids)].tolist() == ids or not text.startswith(prompt)
        return tokens if same else self._pieces(text, [len(prompt)])

    def _whole(self, texts: list[str]) -> list[Tokens]:
        found = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        return [
            self._narrowed(text, np.array(ids, dtype=np.int64), np.array(offsets, dtype=np.int64).reshape(-1, 2))
            for text, ids, offsets in zip(texts, found["input_ids"], found["offset_mapping"], strict=True)
        ]

    def _narrowed(self, text: str, ids: np.ndarray, offsets: np.ndarray) -> Tokens:
        """Tokens whose special ones do not include the white space that they swallow."""
        begins, ends = offsets.T.copy()
        for i in np.flatnonzero(np.isin(ids, list(self.special))):
            held = text[begins[i] : ends[i]]
            if held != held.strip() and held.strip():
                begins[i] += len(held) - len(held.lstrip())
                ends[i] = begins[i] + len(held.strip())
        return Tokens(ids, begins, ends)

    def _divided(self, text: str, tokens: Tokens, starts: list[int]) -> Tokens:
        across = [at for at in starts if ((tokens.begins < at) & (tokens.ends > at)).any()]
        return self._pieces(text, across) if across else tokens

    def _pieces(self, text: str, cuts: list[int]) -> Tokens:
        edges = [0, *cuts, len(text)]
        pieces = self._whole([text[a:b] for a, b in pairwise(edges)])
        return Tokens(
            np.concatenate([piece.ids for piece in pieces]),
            np.concatenate([piece.begins + edge for piece, edge in zip(pieces, edges, strict=False)]),
            np.concatenate([piece.ends + edge for piece, edge in zip(pieces, edges, strict=False)]),
        )

    def labelled(self, tokens: Tokens, text: str, spans: list[Span], limit: int) -> dict[str, Any]:
        """One feature of at most `limit` tokens: each token that overlaps a span has a label, except the first of the text.

        ``bytes`` counts the bytes of the text in the spans, without special tokens.
        """
        ids, begins, ends = (values[:limit] for values in tokens)
        chosen = overlapping(begins, ends, spans)
        chosen[:1] = False
        last = max(ends[-1], begins[-1] + 1) if len(tokens.ids) > limit else len(text)
        learned = [text[max(start, ends[0]) : min(end, last)] for start, end in spans]
        marks = chosen & np.isin(ids, list(self.special))
        special = [text[b:e] for b, e in zip(begins[marks], ends[marks], strict=True)]
        return {
            "input_ids": ids.tolist(),
            "labels": np.where(chosen, ids, IGNORED).tolist(),
            "loss_weights": int(chosen.sum()),
            "truncated": len(tokens.ids) > limit,
            "bytes": byte_count(learned) - byte_count(special),
        }

    def reply(self, tokens: Tokens, text: str, span: Span, content: str, keep_special: bool) -> str:
        """The text of a reply, written as that of generated tokens.

        Args:
            tokens: The tokens of the text.
            text: The text.
            span: The reply in the text.
            content: What the data have as the reply.
            keep_special: Whether special tokens are kept, except for the one that closes the reply.
        """
        body = text[slice(*span)].removesuffix(self.special[self.stop_id]).strip()
        ids = tokens.ids[overlapping(tokens.begins, tokens.ends, [span])].tolist()
        ids = ids[:-1] if ids[-1:] == [self.stop_id] else ids
        if body == content.strip() and self.special.keys().isdisjoint(ids):
            return body
        written = str(self.tokenizer.decode(ids, skip_special_tokens=not keep_special)).strip()
        plain = body if keep_special else self._hidden.sub("", body)
        return written if _joined(written) == _joined(plain) else plain.strip()  # some tokenizers cannot write every text

    @cached_property
    def _hidden(self) -> re.Pattern[str]:
        """Matches the special tokens that generation leaves out."""
        known = self.tokenizer.added_tokens_decoder
        tokens = [token for i, token in self.special.items() if i not in known or known[i].special]
        return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def overlapping(begins: np.ndarray, ends: np.ndarray, spans: list[Span]) -> np.ndarray:
    """Whether each token overlaps one of the spans, ``(tokens,)``."""
    chosen = np.zeros(len(begins), dtype=bool)
    for start, end in spans:
        chosen |= (np.maximum(ends, begins + 1) > start) & (begins < end)
    return chosen


def byte_count(texts: list[str]) -> int:
    """Number of bytes of texts in UTF-8."""
    return sum(len(text.encode()) for text in texts)


def _joined(text: str) -> str:
    return "".join(text.split())

"""From words to windows of subwords."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from ftlit.data.text.word_windows import Window, word_windows
from ftlit.errors import UserError
from ftlit.metrics.entities import Offset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class WordEncoder:
    """Encodes texts with given words, so that each subword belongs to one word.

    Args:
        tokenizer: The backbone's tokenizer.
        max_length: Number of tokens of a window, including special tokens.
        stride: Number of tokens that two windows of a text share.
        count: Called with the tokens of whole texts, and the number of special tokens in each.

    Raises:
        UserError: If a window has no more room than the stride.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        max_length: int,
        stride: int,
        count: Callable[[Iterable[list[int]], int], None] | None = None,
    ) -> None:
        self.tokenizer, self.stride, self.count = tokenizer, stride, count
        self.before, self.behind = self._special_tokens()
        self.room = max_length - len(self.before) - len(self.behind)
        if not 0 <= stride < self.room:
            raise UserError(f"data.stride is {stride}, but a window of data.max_length {max_length} holds {self.room} tokens")
        # Byte-level tokenizers need the space before a word that follows another word; the others add it themselves.
        one, two = self._ids(["a", "a a"])
        self.space = "" if two == one + one else " "

    def features(self, texts: Sequence[tuple[str, list[Offset]]]) -> Iterator[dict[str, Any]]:
        """The windows of texts with the positions of their words.

        Yields:
            For each window ``row``, the position of its text; model inputs; ``starts``, ``widths`` (in tokens) and
            ``offsets`` of its own words; ``piece``, the text from its first own word to that of the next window; ``cut``,
            the number of own words with more subwords than fit into a window; and ``truncated``, whether any word was cut.
        """
        subwords = self.subwords(texts)
        if self.count:
            whole = ([*self.before, *chain.from_iterable(words), *self.behind] for words in subwords)
            self.count(whole, len(self.before) + len(self.behind))
        for row, ((text, offsets), words) in enumerate(zip(texts, subwords, strict=True)):
            fitting = [word[: self.room] for word in words]
            long = [len(word) > self.room for word in words]
            for window in word_windows(list(map(len, fitting)), self.room, self.stride):
                own = slice(window.first, window.last)
                end = offsets[window.last][0] if window.last < len(words) else len(text)
                yield {
                    "row": row,
                    **self._inputs(fitting, window),
                    "offsets": offsets[own],
                    "piece": text[offsets[window.first][0] : end],
                    "cut": sum(long[own]),
                    "truncated": any(long[window.start : window.end]),
                }

    def _inputs(self, words: list[list[int]], window: Window) -> dict[str, Any]:
        ids, starts = list(self.before), []
        for word in words[window.start : window.end]:
            starts.append(len(ids))
            ids += word
        ids += self.behind
        types = {"token_type_ids": [0] * len(ids)} if "token_type_ids" in self.tokenizer.model_input_names else {}
        widths = [len(word) for word in words[window.first : window.last]]
        return {"input_ids": ids, **types, "starts": starts[window.first - window.start :][: len(widths)], "widths": widths}

    def subwords(self, texts: Sequence[tuple[str, list[Offset]]]) -> list[list[list[int]]]:
        """Ids of the subwords, at least one, of each word of each text."""
        pieces = [[self._piece(text, *offset) for offset in offsets] for text, offsets in texts]
        distinct = list({piece: None for row in pieces for piece in row})
        unknown, pad = self.tokenizer.unk_token_id, self.tokenizer.pad_token_id
        # A word of characters that the tokenizer drops, such as a zero-width space, still needs a token for its label.
        nothing = [pad if unknown is None else unknown]
        known = {piece: ids or nothing for piece, ids in zip(distinct, self._ids(distinct), strict=True)}
        return [[known[piece] for piece in row] for row in pieces]

    def _piece(self, text: str, start: int, end: int) -> str:
        return (self.space if start > 0 and text[start - 1].isspace() else "") + text[start:end]

    def _ids(self, words: list[str]) -> list[list[int]]:
        return self.tokenizer(words, add_special_tokens=False, return_attention_mask=False)["input_ids"]

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after a text."""
        found = self.tokenizer("a", return_special_tokens_mask=True)
        inside = [i for i, special in enumerate(found["special_tokens_mask"]) if not special]
        return found["input_ids"][: inside[0]], found["input_ids"][inside[-1] + 1 :]

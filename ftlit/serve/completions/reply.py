"""A text that is being written for a request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ftlit.serve.completions.sampling import Draw
from ftlit.serve.completions.text import Decoder, cut_at, without_begun

Reason = Literal["stop", "length"]


@dataclass(frozen=True)
class Settings:
    """How a text is written.

    Args:
        max_tokens: Number of tokens after which it ends; by default that of the run.
        temperature: Divisor of the logits; 0 stands for the most probable text. None leaves it to the run.
        top_p: Total probability of the tokens to draw from; None leaves it to the run.
        seed: Seed of the draws.
        stops: Texts before which it ends.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stops: tuple[str, ...] = ()


class Reply:
    """A text as it is written, from what stands before it to its end.

    Args:
        stops: Texts before which it ends.
        show: Takes each further piece of the text; None if nobody wants pieces.
        cancelled: Whether nobody wants the text any more.
    """

    def __init__(self, stops: tuple[str, ...], show: Callable[[str], None] | None, cancelled: Callable[[], bool]) -> None:
        self.stops, self.show, self.cancelled = stops, show, cancelled
        self.text, self.reason = "", None  # type: str, Reason | None
        self.prompt_tokens = self.tokens = 0

    def begin(self, source: Any, tokens: int, longest: int, draw: Draw | None, decoder: Decoder) -> None:
        """Set what it is written from.

        Args:
            source: What stands before it, in the form of the task.
            tokens: Number of tokens of the source.
            longest: Number of tokens after which it ends.
            draw: Draws its tokens; None for the most probable text.
            decoder: Makes the text from tokens.
        """
        self.source, self.prompt_tokens, self.longest, self.draw, self.decoder = source, tokens, longest, draw, decoder
        self.ends = decoder.ends | decoder.special_ids(self.stops)
        self.ids: list[int] = []
        self.tokens = 0

    @property
    def over(self) -> bool:
        """Whether it has ended, or nobody wants it any more."""
        return self.reason is not None or self.cancelled()

    def take(self, token: int) -> bool:
        """Add a token, unless it is over, and say whether it is over now."""
        if self.over:
            return True
        self.tokens += 1
        if token in self.ends:
            return self._end("stop")
        if self.ids or token not in self.decoder.begins:
            self.ids.append(token)
        if self.show is not None or self.stops:
            settled = self.decoder.settled(self.ids)
            if cut_at(settled, self.stops) is not None:
                return self._end("stop")
            self._show(without_begun(settled, self.stops).strip())
        return self.tokens >= self.longest and self._end("length")

    def _show(self, text: str) -> None:
        """Show what is new in a text."""
        if self.show is not None and len(text) > len(self.text) and text.startswith(self.text):
            self.show(text[len(self.text) :])
            self.text = text

    def _end(self, reason: Reason) -> bool:
        whole = self.decoder.text(self.ids)
        cut = cut_at(whole, self.stops)
        text = (whole if cut is None else cut).strip()
        self._show(text)
        self.text, self.reason = text, reason if cut is None else "stop"
        return True

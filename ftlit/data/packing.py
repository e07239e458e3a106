"""Documents to blocks of tokens: cut, framed by special tokens, and packed so that little or nothing is padding."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ftlit.data.formats import Located, lines

if TYPE_CHECKING:
    from datasets import Dataset

PACKING_VERSION = 2  # raised whenever documents are joined or packed differently, so that no old cache is served


class Piece(NamedTuple):
    """A part of a document, token by token.

    Args:
        ids: Token ids.
        sizes: UTF-8 bytes of the text that each token stands for.
        words: Number of each token's word in the document, -1 for special tokens.
        row: Position of the document in its split.
    """

    ids: list[int]
    sizes: list[int]
    words: list[int]
    row: int

    def part(self, start: int, end: int | None = None) -> "Piece":
        """The tokens from one position to another."""
        return Piece(self.ids[start:end], self.sizes[start:end], self.words[start:end], self.row)

    def framed(self, before: list[int], after: list[int]) -> "Piece":
        """The piece between special tokens."""
        ahead, behind = len(before), len(after)
        return Piece(
            [*before, *self.ids, *after],
            [*[0] * ahead, *self.sizes, *[0] * behind],
            [*[-1] * ahead, *self.words, *[-1] * behind],
            self.row,
        )


def token_sizes(text: str, offsets: list[tuple[int, int]]) -> list[int]:
    """UTF-8 bytes that each token stands for, with the blanks before it; together the bytes of the text.

    Args:
        text: The text.
        offsets: Where each token begins and ends in it, in characters.
    """
    if not offsets:
        return []
    ends = np.maximum.accumulate([end for _, end in offsets])
    ends[-1] = len(text)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
    before = np.concatenate([[0], np.cumsum(widths)])
    return np.diff(before[ends], prepend=0).tolist()


def split(piece: Piece, size: int) -> Iterator[Piece]:
    """A piece cut into pieces of at most `size` tokens."""
    yield from (piece.part(start, start + size) for start in range(0, len(piece.ids), size))


def filled(pieces: Iterable[Piece], size: int) -> Iterator[list[Piece]]:
    """Blocks of exactly `size` tokens, but for the last: pieces are cut where a block is full."""
    block: list[Piece] = []
    room = size
    for piece in pieces:
        while piece.ids:
            head, piece = piece.part(0, room), piece.part(room)
            block.append(head)
            room -= len(head.ids)
            if not room:
                yield block
                block, room = [], size
    if block:
        yield block


def whole(pieces: Iterable[Piece], size: int, gap: int) -> Iterator[list[Piece]]:
    """Blocks of as many whole pieces as fit into `size` tokens with `gap` tokens between two of them.

    A piece that is longer than a block is cut where a block is full.
    """
    block: list[Piece] = []
    room = size
    for piece in pieces:
        while len(piece.ids) > room:
            if room > 0 and len(piece.ids) > size:
                block.append(piece.part(0, room))
                piece = piece.part(room)
            yield block
            block, room = [], size
        block.append(piece)
        room -= len(piece.ids) + gap
    if block:
        yield block


def pieces_of(documents: "Dataset") -> Iterator[Piece]:
    """The encoded documents one by one; those without a token are left out."""
    for row, document in enumerate(documents):
        if document["input_ids"]:
            words = document.get("words") or [0] * len(document["input_ids"])
            yield Piece(document["input_ids"], document["sizes"], words, row)


def packed(documents: "Dataset", pack: Callable[[Iterator[Piece]], Iterator[dict[str, Any]]], settings: list[Any]) -> "Dataset":
    """The blocks of a split with their number as ``row``, from the cache where the same were packed before.

    Args:
        documents: Encoded documents: columns ``input_ids``, ``sizes`` and perhaps ``words``.
        pack: From pieces, one a document, to the features of blocks.
        settings: All that `pack` depends on.
    """
    import datasets
    from datasets.fingerprint import Hasher

    datasets.disable_progress_bars()
    key = Hasher.hash([documents._fingerprint, *settings, PACKING_VERSION])

    def blocks() -> Iterator[dict[str, Any]]:
        for number, block in enumerate(pack(pieces_of(documents))):
            yield {**block, "truncated": False, "row": number}

    return datasets.Dataset.from_generator(blocks, fingerprint=key)


def line_rows(path: Path) -> Located:
    """Each line as the column ``text``, blank ones too."""
    yield from ((f"line {number}", {"text": line.rstrip("\r\n")}) for number, line in lines(path))


def joined(rows: "Dataset", column: str) -> "Dataset":
    """Documents from rows of lines: the lines between two blank ones, joined by line feeds."""
    import datasets
    from datasets.fingerprint import Hasher

    def documents() -> Iterator[dict[str, str]]:
        found: list[str] = []
        for batch in rows.select_columns([column]).iter(1000):
            for line in batch[column]:  # type: ignore[index]
                if isinstance(line, str) and line.strip():
                    found.append(line)
                elif found:
                    yield {column: "\n".join(found)}
                    found = []
        if found:
            yield {column: "\n".join(found)}

    key = Hasher.hash([rows._fingerprint, column, "joined", PACKING_VERSION])
    return datasets.Dataset.from_generator(documents, fingerprint=key)


def without_blank(rows: "Dataset", column: str) -> "Dataset":
    """The rows whose text is not blank."""
    texts = rows[column]
    kept = [i for i, text in enumerate(texts) if not isinstance(text, str) or text.strip()]
    return rows.select(kept) if len(kept) < len(rows) else rows

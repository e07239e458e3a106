"""From documents to blocks of tokens, packed so that there is little or no padding."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ftlit.data.sources.formats import Located, lines
from ftlit.util.private import rows_hash

if TYPE_CHECKING:
    from datasets import Dataset

Blocks = Iterator[dict[str, Any]]

PACKING_VERSION = 4  # to be raised whenever documents are joined or packed differently, so that old caches are not used
EMPTY = "documents without a token, left out"
NOTHING = "blocks without a token to predict, left out"


class NoBlocksError(ValueError):
    """The documents result in no block; the message counts what was left out."""


class Piece(NamedTuple):
    """A part of a document.

    Args:
        ids: Token ids.
        sizes: Number of UTF-8 bytes of the text of each token.
        words: Index of each token's word in the document, -1 for special tokens.
        row: Position of the document in its split.
    """

    ids: list[int]
    sizes: list[int]
    words: list[int]
    row: int

    def part(self, start: int, end: int | None = None) -> "Piece":
        """The tokens from position `start` to `end`."""
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
    """Number of UTF-8 bytes of each token, including the white space before it; the sum is that of the text.

    Args:
        text: The text.
        offsets: Start and end of each token, in characters.
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
    """Cut a piece into pieces of at most `size` tokens."""
    yield from (piece.part(start, start + size) for start in range(0, len(piece.ids), size))


def pack_stream(pieces: Iterable[Piece], size: int) -> Iterator[list[Piece]]:
    """Blocks of exactly `size` tokens, except the last; a piece is cut where a block is full."""
    block: list[Piece] = []
    room = size
    for piece in pieces:
        start = 0
        while start < len(piece.ids):
            head = piece.part(start, start + room)
            start += len(head.ids)
            room -= len(head.ids)
            block.append(head)
            if not room:
                yield block
                block, room = [], size
    if block:
        yield block


def pack_whole_documents(pieces: Iterable[Piece], size: int, gap: int) -> Iterator[list[Piece]]:
    """Blocks of as many whole pieces as fit into `size` tokens, with `gap` tokens between two pieces.

    Only a piece that is longer than a block is cut, where the block is full.
    """
    block: list[Piece] = []
    room = size
    for piece in pieces:
        start, left = 0, len(piece.ids)
        while left > room:
            if room > 0 and left > size:
                block.append(piece.part(start, start + room))
                start, left = start + room, left - room
            yield block
            block, room = [], size
        block.append(piece.part(start))
        room -= left + gap
    if block:
        yield block


def pieces_of(documents: "Dataset", lost: Counter[str]) -> Iterator[Piece]:
    """The encoded documents one by one; documents without tokens are left out and counted."""
    for row, document in enumerate(documents):
        if not document["input_ids"]:
            lost[EMPTY] += 1
        else:
            words = document.get("words") or [0] * len(document["input_ids"])
            yield Piece(document["input_ids"], document["sizes"], words, row)


def with_targets(blocks: Blocks, column: str, lost: Counter[str]) -> Blocks:
    """The blocks whose `column` is not 0; the others have nothing to learn and are counted as lost."""
    for block in blocks:
        if block[column]:
            yield block
        else:
            lost[NOTHING] += 1


def packed(documents: "Dataset", pack: Callable[[Iterator[Piece], Counter[str]], Blocks], settings: list[Any]) -> "Dataset":
    """The blocks of a split with their index as ``row``, read from the cache if the same were packed before.

    Args:
        documents: Encoded documents: the columns ``input_ids``, ``sizes`` and optionally ``words``.
        pack: From pieces, one a document, to the features of blocks; it counts what it leaves out.
        settings: Everything that `pack` depends on.

    Raises:
        NoBlocksError: If there is no block.
    """
    import datasets
    from datasets.fingerprint import Hasher

    datasets.disable_progress_bars()
    key = Hasher.hash([rows_hash(documents), *settings, PACKING_VERSION])

    try:
        return datasets.Dataset.from_generator(lambda: _numbered(documents, pack), fingerprint=key)
    except datasets.exceptions.DatasetGenerationError as error:
        raise error.__cause__ if isinstance(error.__cause__, NoBlocksError) else error from None


def _numbered(documents: "Dataset", pack: Callable[[Iterator[Piece], Counter[str]], Blocks]) -> Blocks:
    """Blocks with their index as ``row``; the last also has, as ``lost``, what was left out, known only after it."""
    lost: Counter[str] = Counter()
    held: dict[str, Any] | None = None
    for number, block in enumerate(pack(pieces_of(documents, lost), lost)):
        if held is not None:
            yield held
        held = {**block, "truncated": False, "row": number, "lost": ""}
    found = {name: count for name, count in lost.items() if count}
    if held is None:
        raise NoBlocksError(", ".join(f"{count} {name}" for name, count in found.items()))
    yield {**held, "lost": json.dumps(found)}


def lost_counts(blocks: "Dataset") -> dict[str, int]:
    """Counts of what was left out when the blocks were packed."""
    return json.loads(blocks[len(blocks) - 1]["lost"])


def line_rows(path: Path) -> Located:
    """Each line as the column ``text``, including blank lines."""
    yield from ((f"line {number}", {"text": line.rstrip("\r\n")}) for number, line in lines(path))


def join_lines(rows: "Dataset", column: str) -> "Dataset":
    """Documents from rows of lines: the lines between two blank lines, joined by line feeds."""
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

    key = Hasher.hash([rows_hash(rows), column, "joined", PACKING_VERSION])
    return datasets.Dataset.from_generator(documents, fingerprint=key)


def without_blank(rows: "Dataset", column: str) -> "Dataset":
    """The rows whose text is not blank."""
    texts = rows[column]
    kept = [i for i, text in enumerate(texts) if not isinstance(text, str) or text.strip()]
    return rows.select(kept) if len(kept) < len(rows) else rows

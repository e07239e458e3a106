"""Scripts that are written without spaces, and which of them a data set is in."""

import re
from collections.abc import Iterable

# Han characters and kana, which are written without spaces. Their punctuation is outside these ranges.
CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
HAS_CJK = re.compile(f"[{CJK}]")
HAS_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9d]")


def mostly(letter: re.Pattern[str], references: Iterable[Iterable[str]]) -> bool:
    """Whether more than half of the reference texts of all rows contain a character that matches."""
    texts = [text for row in references for text in row]
    return sum(bool(letter.search(text)) for text in texts) * 2 > len(texts)

"""CoNLL column files: a line for each token, with one or more columns, and a blank line after each sentence.

This is the layout of the CoNLL shared tasks (Tjong Kim Sang and De Meulder, 2003) and of IOB and BIO files, including
comments above a sentence as in CoNLL-U (https://universaldependencies.org/format.html).
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ftlit.data.sources.formats import Located, lines
from ftlit.errors import UserError

DOCUMENT_START = "-DOCSTART-"
# `#` is also a token of English news (`# # B-NP O`), so only lines that cannot be columns are comments: `# key = value`,
# and the keys that need no equals sign.
COMMENT = re.compile(r"# ([\w.:\[\]-]+ ?=|(newdoc|newpar)\b|(id|sent_id|text) )")
# In CoNLL-U, the first column counts the words: `2-3` is a token that consists of the two words below, `4.1` an empty node.
CONLLU_COLUMNS, FORM, UPOS = 10, 1, 3
ID = re.compile(r"(\d+)(-\d+|\.\d+)?")


def conll_rows(path: Path) -> Located:
    """One row a sentence: ``tokens`` is the first column, ``tags`` the last, and ``column1``, ``column2``, … are all columns.

    Columns are separated by tabs if the first token's line has one, otherwise by spaces. ``-DOCSTART-`` lines and comments
    above a sentence are skipped. A file with one column has no ``tags``. In CoNLL-U, where the first column counts the words,
    ``tokens`` is the second and ``tags`` is UPOS, if there are ten columns, and lines of several words (``2-3``) and of empty
    nodes (``4.1``) are skipped.

    Raises:
        UserError: If a line has a different number of columns than the first, has an empty column, or is not UTF-8.
    """
    conllu = _is_conllu(path)
    for number, (first_line, sentence) in enumerate(_sentences(path, conllu), start=1):
        columns = [list(column) for column in zip(*sentence, strict=True)]
        row = {"tokens": columns[FORM if conllu else 0]}
        if len(columns) > 1:
            row["tags"] = columns[UPOS if conllu and len(columns) == CONLLU_COLUMNS else -1]
        row |= {f"column{place}": column for place, column in enumerate(columns, start=1)}
        yield f"sentence {number} (line {first_line})", row


def _is_conllu(path: Path) -> bool:
    """Whether the first of several columns counts the words of every sentence."""
    longest, ids = 0, list[str]()
    for _, line in chain(lines(path), [(0, "")]):
        if fields := line.split():
            ids += [] if line.startswith("#") else [fields[0] if len(fields) > 1 else ""]
        elif ids:
            if not (count := _word_count(ids)):
                return False
            longest, ids = max(longest, count), []
    return longest > 1


def _word_count(ids: list[str]) -> int:
    """Number of words whose ids in CoNLL-U these are; 0 if they are something else."""
    count = last = 0
    for found in map(ID.fullmatch, ids):
        first, more = (int(found[1]), found[2]) if found else (-1, None)
        if first != (count if more and more[0] == "." else count + 1):
            return 0
        last = int(more[1:]) if more and more[0] == "-" else last
        count += more is None
    return count if count >= last else 0


def _sentences(path: Path, conllu: bool) -> Iterator[tuple[int, list[list[str]]]]:
    """The number of each sentence's first line, and the columns of its tokens."""
    start, sentence = 0, list[list[str]]()
    for number, fields in _fields(path, conllu):
        if "" in fields:
            raise UserError(f"{path}, line {number}: column {fields.index('') + 1} of {len(fields)} is empty")
        if fields:
            start = start if sentence else number
            sentence.append(fields)
        elif sentence:
            yield start, sentence
            sentence = []
    if sentence:
        yield start, sentence


def _fields(path: Path, conllu: bool) -> Iterator[tuple[int, list[str]]]:
    """The columns of each line; an empty list marks the end of a sentence."""
    first, expected, tabs, inside = 0, 0, False, False
    for number, line in lines(path):
        text = line.strip(" \t\r\n")
        if not text or text.startswith(DOCUMENT_START):
            inside = False
            yield number, []
        elif conllu and (text.startswith("#") or not text.split(maxsplit=1)[0].isdigit()):
            continue
        elif inside or not COMMENT.match(text):
            inside, tabs = True, tabs if first else "\t" in text
            fields = _split(line, tabs)
            first, expected = first or number, expected or len(fields)
            if len(fields) != expected:
                between = "a tab" if tabs else "spaces"
                raise UserError(
                    f"{path}, line {number}: {_count(fields)}, expected {expected} as in line {first}; a CoNLL file has one "
                    f"token a line, {between} between its columns as in line {first}, and a blank line after each sentence"
                )
            yield number, fields


def _split(line: str, tabs: bool) -> list[str]:
    # Not at all kinds of white space: a no-break or an ideographic space may be a token.
    if tabs:
        return [field.strip(" ") for field in line.strip("\r\n").split("\t")]
    return re.split("[ \t]+", line.strip(" \t\r\n"))


def _count(fields: list[str]) -> str:
    return "1 column" if len(fields) == 1 else f"{len(fields)} columns"

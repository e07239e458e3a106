"""CoNLL column files: sentences as rows, what is a comment and what a token, and who reads a .txt."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from ftlit.data.sources.conll import conll_rows
from ftlit.data.sources.load import load_splits
from ftlit.data.text_classification import TextClassificationData
from ftlit.errors import UserError
from tests.support.data import REAL_DATA

ENGLISH = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

# # B-NP O
1 CD I-NP O


-DOCSTART- -X- -X- O

Blackburn NNP B-NP B-PER
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def read(path: Path, content: str | bytes) -> list[dict]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_splits(str(path))["train"].to_list()


@pytest.mark.parametrize("ending", ["conll", "iob", "bio", "CONLL"])
def test_sentences_are_rows(tmp_path: Path, ending: str) -> None:
    rows = read(tmp_path / f"a.{ending}", ENGLISH)
    assert rows == [
        {
            "tokens": ["EU", "rejects"],
            "tags": ["B-ORG", "O"],
            "column1": ["EU", "rejects"],
            "column2": ["NNP", "VBZ"],
            "column3": ["B-NP", "B-VP"],
            "column4": ["B-ORG", "O"],
        },
        {
            "tokens": ["#", "1"],
            "tags": ["O", "O"],
            "column1": ["#", "1"],
            "column2": ["#", "CD"],
            "column3": ["B-NP", "I-NP"],
            "column4": ["O", "O"],
        },
        {
            "tokens": ["Blackburn"],
            "tags": ["B-PER"],
            "column1": ["Blackburn"],
            "column2": ["NNP"],
            "column3": ["B-NP"],
            "column4": ["B-PER"],
        },
    ]


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(ENGLISH)
    assert [place for place, _ in conll_rows(path)] == ["sentence 1 (line 3)", "sentence 2 (line 6)", "sentence 3 (line 12)"]


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ("a\tO\nb\tX\n\nc\tO\n", [["a", "b"], ["c"]]),
        ("\ufeffa  O\r\nb \t X \r\n\r\n \t \r\nc O", [["a", "b"], ["c"]]),  # a mark, runs of spaces, blanks, no last line end
        ("10 000\tO\nb \tO \n", [["10 000", "b"]]),  # tabs alone separate, once there is one
        ("\u3000 O\n\xa0 O\n\u2028 O\n", [["\u3000", "\xa0", "\u2028"]]),
        ("", []),
    ],
)
def test_separators(tmp_path: Path, content: str, sentences: list[list[str]]) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(content.encode())
    rows = [row for _, row in conll_rows(path)]
    assert [row["tokens"] for row in rows] == sentences
    assert {tag for row in rows for tag in row["tags"]} <= {"O", "X"}


def test_comments_stand_above_sentences_only(tmp_path: Path) -> None:
    content = (
        "# newdoc\n# global.columns = ID FORM\n# sent_id = 1\n# text = # 7\n#\t_\tO\n7\t_\tO\n\n"
        "# text_en=seven\n7\t_\tO\n#\ttext =\tO\n\n"
    )
    assert [row["tokens"] for row in read(tmp_path / "a.conll", content)] == [["#", "7"], ["7", "#"]]
    identified = "# id 52-39\tdomain=train\n# _ _ O\nnumber _ _ B-X\n\n# id 52-40\tdomain=train\none _ _ O\n"
    assert [row["tokens"] for row in read(tmp_path / "b.conll", identified)] == [["#", "number"], ["one"]]


def test_one_column_has_no_tags(tmp_path: Path) -> None:
    assert read(tmp_path / "a.conll", "a\nb\n\nc\n") == [
        {"tokens": ["a", "b"], "column1": ["a", "b"]},
        {"tokens": ["c"], "column1": ["c"]},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("-DOCSTART- O\n\na N O\nb O\n", ", line 4: 2 columns, expected 3 as in line 3; a CoNLL file has one token a line"),
        ("# id 1\na O\n\nb\n", ", line 4: 1 column, expected 2 as in line 2;"),
        ("a\tO\nb O\n", ", line 2: 1 column, expected 2 as in line 1; a CoNLL file has one token a line, a tab between its"),
        ("a\tO\nb\t\n", ", line 2: column 2 of 2 is empty"),
        ("a\tO\n \tO\n", ", line 2: column 1 of 2 is empty"),
        ("a O\n# sent_id = 2\n", ", line 2: 4 columns, expected 2"),
        ("", " has no rows"),
        ("-DOCSTART- O\n\n# id 1\n\n", " has no rows"),
        (b"a O\ncaf\xe9 O\n", ", line 2: the byte 0xe9 is not UTF-8"),
    ],
)
def test_broken_files(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "a.conll"
    with pytest.raises(UserError, match=re.escape(f"{path}{message}")):
        read(path, content)


def test_data_module_chooses_the_reader_of_txt(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a O\n\nb X\n")
    (tmp_path / "test.tsv").write_text("c\tO\nd\tX\n")
    readers = {".txt": conll_rows, ".tsv": conll_rows}
    for _ in range(2):  # the second time from the cache
        tagged = load_splits(str(tmp_path), readers=readers)
        assert tagged["train"]["tokens"][:] == [["a"], ["b"]]
        assert tagged["test"]["tags"][:] == [["O", "X"]]
        plain = load_splits(str(tmp_path))
        assert plain["train"]["text"][:] == ["a O", "b X"]
        assert plain["test"].to_list() == [{"c": "d", "O": "X"}]
    only = load_splits(str(tmp_path / "train.txt"), readers=readers)["train"]
    assert only.cache_files == tagged["train"].cache_files


def test_data_module_says_so_in_a_class_attribute(tmp_path: Path, tiny: Callable[[str], str]) -> None:
    class Tagged(TextClassificationData):
        readers = {".txt": conll_rows}  # noqa: RUF012

    (tmp_path / "train.txt").write_text("a O\n\nb X\n")
    settings = {"dataset": str(tmp_path), "backbone": tiny("bert")}
    assert Tagged(**settings).rows.raw["train"]["tokens"][:] == [["a"], ["b"]]
    assert TextClassificationData(**settings).rows.raw["train"]["text"][:] == ["a O", "b X"]


@pytest.mark.real_data
def test_conll2003() -> None:
    splits = load_splits(str(REAL_DATA / "conll2003"), readers={".txt": conll_rows})
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 14041, "validation": 3250, "test": 3453}
    entities = Counter(tag[2:] for tags in splits["test"]["tags"] for tag in tags if tag.startswith("B-"))
    # Table 2 of Tjong Kim Sang and De Meulder (2003).
    assert entities == {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}
    assert sum(map(len, splits["test"]["tokens"])) == 46435

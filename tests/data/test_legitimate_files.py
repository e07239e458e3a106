"""Files that look odd and are in order: they are read as what they mean."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

from ftlit.data import TokenClassificationData
from ftlit.data.sources.formats import SEPARATORS
from ftlit.data.sources.load import load_splits
from ftlit.errors import UserError
from tests.support.small_files import ROWS, WRITERS

Tiny = Callable[[str], str]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def read(path: Path, content: bytes | str) -> list[dict[str, Any]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_splits(str(path))["train"].to_list()


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize("last", [True, False])
def test_carriage_returns_alone_end_lines(tmp_path: Path, ending: str, last: bool) -> None:
    content = WRITERS[ending](ROWS).replace(b"\n", b"\r")
    assert read(tmp_path / f"a.{ending}", content if last else content.rstrip(b"\r")) == ROWS


def test_carriage_returns_alone_end_lines_of_texts_and_sentences(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", "one\r\r two\r") == [{"text": "one"}, {"text": " two"}]
    assert [row["tokens"] for row in read(tmp_path / "a.conll", "a O\rb O\r\rc O\r")] == [["a", "b"], ["c"]]
    assert read(tmp_path / "b.txt", "one\ra\ntwo\rb") == [{"text": "one\ra"}, {"text": "two\rb"}], "line feeds end lines"


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_the_index_of_pandas_is_a_column_like_others(tmp_path: Path, ending: str) -> None:
    sign = "," if ending == "csv" else "\t"
    content = f"{sign}text{sign}label\n0{sign}word1{sign}a\n"
    assert read(tmp_path / f"a.{ending}", content) == [{"Unnamed: 0": "0", "text": "word1", "label": "a"}]
    with pytest.raises(UserError, match="the header: column 2 has no name"):
        read(tmp_path / "b.csv", "text,,label\n1,2,3\n")


@pytest.mark.parametrize(("ending", "other"), [("csv", ";"), ("csv", "\t"), ("csv", "|"), ("tsv", ","), ("tsv", ";")])
def test_a_file_with_another_separator_is_told_which(tmp_path: Path, ending: str, other: str) -> None:
    with pytest.raises(UserError, match=f"the header: .* is separated by {SEPARATORS[other]}, and a .{ending} file has "):
        read(tmp_path / f"a.{ending}", f"text{other}label\nword1, word2{other}a\n")


def test_categories_of_parquet(tmp_path: Path) -> None:
    table = pa.table({"text": ["word1", "word2"], "label": pa.array(["a", "b"]).dictionary_encode()})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert load_splits(str(tmp_path / "a.parquet"))["train"]["label"][:] == ["a", "b"]


UNIVERSAL = """# newdoc id = a
# sent_id = 1
# text = Let's go
# a comment of any kind
1-2\tLet's\t_\t_\t_\t_\t_\t_\t_\t_
1\tLet\tlet\tVERB\t_\t_\t0\troot\t_\t_
2\t's\twe\tPRON\t_\t_\t1\tobj\t_\t_
3\tgo\tgo\tVERB\t_\t_\t1\txcomp\t_\tSpaceAfter=No
3.1\tnow\tnow\tADV\t_\t_\t_\t_\t_\t_
# another one, inside

1\tTwo words\ttwo\tNUM\t_\t_\t0\troot\t_\t_
"""


@pytest.mark.parametrize("name", ["a.conllu", "a.conll"])
def test_conllu_has_words_only(tmp_path: Path, name: str) -> None:
    rows = read(tmp_path / name, UNIVERSAL)
    assert [row["tokens"] for row in rows] == [["Let", "'s", "go"], ["Two words"]]
    assert [row["tags"] for row in rows] == [["VERB", "PRON", "VERB"], ["NUM"]]
    assert rows[0]["column1"] == ["1", "2", "3"]
    assert rows[0]["column8"] == ["root", "obj", "xcomp"]


def test_conllu_may_have_other_columns(tmp_path: Path) -> None:
    content = "# global.columns = ID FORM NER\n1-2\tdu\t_\n1\tde\tO\n2\tle\tO\n3\tNil\tB-LOC\n"
    [row] = read(tmp_path / "a.conllup", content)
    assert (row["tokens"], row["tags"]) == (["de", "le", "Nil"], ["O", "O", "B-LOC"])


def test_scores_and_decimals_are_words_of_other_column_files(tmp_path: Path) -> None:
    for ids in (["1", "2-3", "4.1"], ["1", "2", "4"], ["2", "3"], ["1", "2-3", "2"], ["1", "2.1", "2"], ["1-3", "1", "2"]):
        assert read(tmp_path / "a.conll", "".join(f"{word} CD O\n" for word in ids))[0]["tokens"] == ids
    assert [row["tokens"] for row in read(tmp_path / "b.conll", "1 O\n2 O\n\n1 O\nb O\n")] == [["1", "2"], ["1", "b"]]
    assert read(tmp_path / "c.conll", "1\n2\n")[0]["tokens"] == ["1", "2"]


def tagged(tiny: Tiny, path: Path, content: str, **options: Any) -> TokenClassificationData:
    path.write_text(content * 12)
    data = TokenClassificationData(dataset=str(path), backbone=tiny("bert"), **options)
    data.setup()
    return data


def test_tags_without_a_type(tiny: Tiny, tmp_path: Path) -> None:
    data = tagged(tiny, tmp_path / "a.conll", "word1 B\nword2 I\nword3 O\nword4 B\n\n")
    assert data.label_names == ["O", "B-entity", "I-entity"]
    assert data.record_at("train", 0)["label"] == [
        {"label": "entity", "start": 0, "end": 11, "text": "word1 word2"},
        {"label": "entity", "start": 18, "end": 23, "text": "word4"},
    ]
    numbered = TokenClassificationData(dataset="x", backbone=tiny("bert"), label_names=["O", "B", "I"])
    assert numbered.label_names == ["O", "B-entity", "I-entity"]
    assert numbered.answer({"tags": [1, 2, 0]}) == ["B-entity", "I-entity", "O"]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        *[("BMES", "B-X M-X E-X S-Y O"), ("BMEOS", "B-X M-X E-X S-Y O"), ("BILOU", "B-X I-X L-X U-Y O")],
        *[("BIOES", "B-X M-X E-X S-Y O"), ("IOBES", "B-X I-X E-X S-Y O"), ("BIO", "B-X I-X I-X B-Y O")],
    ],
)
def test_schemes_by_their_usual_names(tiny: Tiny, tmp_path: Path, scheme: str, tags: str) -> None:
    content = "".join(f"word{i} {tag}\n" for i, tag in enumerate(tags.split())) + "\n"
    data = tagged(tiny, tmp_path / "a.bio", content, scheme=scheme)
    assert data.encoded["train"]["reference"][0] == ["B-X", "I-X", "I-X", "B-Y", "O"]


def test_words_of_a_text_without_spaces(tiny: Tiny, tmp_path: Path) -> None:
    data = tagged(tiny, tmp_path / "a.bio", "word1 B\nword2 E\nword3 S\nword4 B\nword5 M\nword6 E\n\n", scheme="BMES")
    assert [entity["text"] for entity in data.record_at("train", 0)["label"]] == ["word1 word2", "word3", "word4 word5 word6"]
    with pytest.raises(UserError, match="has the tag 'E', but the prefixes of IOB2 are B, I; BIOES has it"):
        tagged(tiny, tmp_path / "b.bio", "word1 B\nword2 E\n\n")


def test_a_no_break_space_is_a_word(tiny: Tiny, tmp_path: Path) -> None:
    data = tagged(tiny, tmp_path / "a.conll", "word1 B-X\n\xa0 O\nword2 O\n\n")
    assert data.encoded["train"]["reference"][0] == ["B-X", "O", "O"]
    assert len(data.encoded["train"]["input_ids"][0]) == 5


def test_tags_may_have_spaces_around_them(tiny: Tiny) -> None:
    data = TokenClassificationData(dataset="x", backbone=tiny("bert"), label_names=["O", "B-X"])
    row = {"tokens": ["word1", "word2"], "tags": [" B-X", "O "]}
    assert data.answer(row) == ["B-X", "O"]

"""Sources: every format gives the same rows, and every broken one says what is wrong and where."""

import json
import os
import re
from pathlib import Path

import datasets
import pytest

from ftlit.data.sources.load import load_splits
from ftlit.errors import UserError
from ftlit.util.files import resolve_package_path

ROWS = [
    {"text": 'He said "no", twice', "label": "null"},
    {"text": "grüße, 你好\u2028!", "label": "NA"},
    {"text": "two\nlines", "label": "007"},
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def delimited(rows: list[dict[str, str]], delimiter: str) -> str:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(delimiter.join('"' + field.replace('"', '""') + '"' for field in fields) + "\r\n" for fields in lines)


def write_rows(path: Path, rows: list[dict]) -> str:
    kind = path.suffix
    if kind == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(str(path))
    elif kind == ".jsonl":
        write(path, "\n\n".join(json.dumps(row) for row in rows))
    elif kind == ".json":
        write(path, json.dumps(rows))
    else:
        write(path, delimited(rows, "," if kind == ".csv" else "\t"))
    return str(path)


def refused(dataset: object, message: str, **kwargs: object) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_splits(str(dataset), **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    loaded = load_splits(write_rows(tmp_path / f"rows.{kind}", ROWS))
    assert list(loaded) == ["train"]
    assert loaded["train"].to_list() == ROWS
    assert loaded["train"].column_names == ["text", "label"]


def test_text_has_one_row_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffone\r\n\n  \n two \n")
    assert load_splits(path)["train"].to_list() == [{"text": "one"}, {"text": " two "}]


def test_byte_order_mark_and_long_field(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\ufefftext,label\n" + "x" * 200_000 + ",1\n")
    row = load_splits(path)["train"][0]
    assert list(row) == ["text", "label"]
    assert len(row["text"]) == 200_000


def test_quote_inside_a_field_is_a_letter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\na 5" disk\t1\n')
    assert load_splits(path)["train"][0]["text"] == 'a 5" disk'


def test_json_with_data_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps({"version": 1, "data": ROWS}))
    assert load_splits(path)["train"].to_list() == ROWS


def test_json_lines_unite_keys_and_types(tmp_path: Path) -> None:
    rows: list[dict] = [{"a": None, "z": 1, "n": {"x": 1}} for _ in range(1500)]
    rows += [{"b": [], "z": 0.5}, {"a": "late", "b": ["t"], "n": {"y": "s"}}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    loaded = load_splits(path)["train"]
    assert loaded.column_names == ["a", "z", "n", "b"]
    assert loaded[0] == {"a": None, "z": 1.0, "n": {"x": 1, "y": None}, "b": None}
    assert loaded[-1] == {"a": "late", "z": None, "n": {"x": None, "y": "s"}, "b": ["t"]}


def test_edited_file_is_never_stale(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    for label in "ABA":
        write(path, f"text,label\nx,{label}\n")
        os.utime(path, (1, 1))
        assert load_splits(str(path))["train"]["label"][:] == [label]


def test_second_reading_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows(tmp_path / "a.jsonl", ROWS)
    first = load_splits(path)["train"]
    monkeypatch.setattr("ftlit.data.sources.readers.features_of", None)  # column types, too
    second = load_splits(path)["train"]
    assert first.cache_files == second.cache_files
    assert first._fingerprint == second._fingerprint


def test_folder_of_files(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.csv", ROWS)
    write_rows(tmp_path / "dev.jsonl", ROWS[:1])
    write_rows(tmp_path / "test.parquet", ROWS[1:])
    write(tmp_path / "README.md", "not rows")
    write(tmp_path / "labels.txt", "a\nb\n")
    loaded = load_splits(str(tmp_path))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 3, "validation": 1, "test": 2}


def test_splits_rename_and_cut(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.csv", ROWS)
    write_rows(tmp_path / "dev.hard.csv", ROWS[:1])
    loaded = load_splits(str(tmp_path), splits={"validation": "dev.hard", "train": "train[:1]", "test": "train[1:]"})
    assert [rows.to_list() for rows in loaded.values()] == [ROWS[:1], ROWS[:1], ROWS[1:]]
    refused(
        tmp_path,
        f"data.splits.test is 'trian', and data.dataset '{tmp_path}' has no split 'trian'. Did you mean 'train'?",
        splits={"test": "trian"},
    )
    refused(tmp_path, "data.splits.test is 'train[x]', which is neither a split nor a part", splits={"test": "train[x]"})
    refused(tmp_path, "data.splits has the key 'valid'. Did you mean 'validation'?", splits={"valid": "dev.hard"})


def test_saved_by_datasets(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "valid": rows.select([0])}).save_to_disk(str(tmp_path / "two"))
    assert load_splits(str(tmp_path / "one"))["train"].to_list() == ROWS
    assert {name: len(split) for name, split in load_splits(str(tmp_path / "two")).items()} == {
        "train": 3,
        "validation": 1,
    }


def test_broken_folders(tmp_path: Path) -> None:
    refused(tmp_path, "There are: no files")
    write(tmp_path / "README.md", "x")
    refused(tmp_path, f"the folder {tmp_path} has no file such as train.csv; it should have train, validation or test")
    refused(tmp_path, "There are: README.md")
    write(tmp_path / "part1.csv", "a\n1\n")
    refused(tmp_path, "has no train, validation or test split; it has: part1. Name its splits in data.splits")
    write(tmp_path / "train.csv", "a\n1\n")
    write(tmp_path / "train.jsonl", '{"a": 1}\n')
    refused(tmp_path, "has train.csv and train.jsonl for one split; keep one of them")
    (tmp_path / "train.jsonl").unlink()
    write(tmp_path / "val.csv", "a\n1\n")
    write(tmp_path / "dev.csv", "a\n1\n")
    refused(tmp_path, "has val and dev: name one as data.splits.validation")


ADVICE = "a field that contains a quote must be quoted, with each quote inside it doubled"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", " has no rows"),
        ("a.csv", "text,label\n", " has no rows"),
        ("a.csv", "a,b\n1,2\n\n1,2,3\n", ", row 2 (line 4): 3 fields, but the header has 2"),
        ("a.csv", 'a,b\n"x,1\ny",2,3\n', f"; it runs over 2 lines, so a stray quote is likely: {ADVICE}"),
        ("a.tsv", 'a\tb\n"Hi" he said\t1\n', f", row 1 (line 2): '\t' expected after '\"'; {ADVICE}"),
        ("a.tsv", 'a\tb\n"I left\t1\nthen slept"\t2\n', ", row 1 (line 2): a field runs over 2 lines and holds tabs"),
        ("a.csv", 'a,b\n1,2\n"x,1\n', f", row 2 (line 3): unexpected end of data; {ADVICE}"),
        ("a.csv", "a,a\n1,2\n", ", the header: two columns are named 'a'"),
        ("a.csv", "a,,b\n1,2,3\n", ", the header: column 2 has no name"),
        ("a.csv", b"a,b\n1,2\ncaf\xe9,2\n", ", line 3: the byte 0xe9 is not UTF-8"),
        ("a.txt", b"\xff\xfea\x00", ", line 1: the byte 0xff is not UTF-8"),
        ("a.txt", "\n\n", " has no rows"),
        ("a.jsonl", '{"a": 1}\n\n{"a": 1\n', ", line 3: not valid JSON (Expecting ',' delimiter"),
        ("a.jsonl", '{"a": 1}\n[1]\n', ", line 2: expected an object with named columns, got [1] (list)"),
        ("a.jsonl", "", " has no rows"),
        ("a.jsonl", '{"a": 1}\n{"a": "x"}\n', ", line 2: the column 'a' is 'x' (str), but int64 in the rows before it"),
        ("a.jsonl", '{"a": true}\n{"a": 1}\n', ", line 2: the column 'a' is 1 (int), but bool in the rows before it"),
        ("a.jsonl", '{"a": "\\ud800"}\n', ", line 1: the column 'a' is '\\ud800' (str), 'utf-8' codec can't encode"),
        ("a.json", '[{"a": 1}, {"a": [1]}]', ", row 2: the column 'a' is [1] (list), but int64 in the rows before it"),
        ("a.json", '[{"a": 1}, 2]', ", row 2: expected an object with named columns, got 2 (int)"),
        ("a.json", '{"rows": []}', 'should contain a list of objects, or an object {"data": [...]}'),
        ("a.json", "[]", " has no rows"),
        ("a.json", '[\n{"a": }]', ", line 2: not valid JSON (Expecting value)"),
        (
            "a.json",
            '{"a": 1}\n{"a": 1}\n',
            "not valid JSON (Extra data); if each line is an object of its own, name the",
        ),
        ("a.parquet", "no", " cannot be read as parquet: "),
        ("a.docx", "x", " ends in none of .csv, .tsv, .json, .jsonl, .parquet, .txt"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = write(tmp_path / name, content)
    refused(path, path)
    refused(path, message)


def test_mixed_types_far_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"label": 1}\n' * 2500 + '{"label": "1"}\n')
    refused(path, f"{path}, line 2501: the column 'label' is '1' (str), but int64 in the rows before it")


def test_missing_paths(tmp_path: Path) -> None:
    write_rows(tmp_path / "reviews.csv", ROWS)
    refused(tmp_path / "reviws.csv", f"reviws.csv' does not exist (in the folder {tmp_path}: Did you mean 'reviews.csv'?)")
    refused("./nowhere", "data.dataset './nowhere' does not exist (in the folder .: ")
    refused("no/such/folder", "data.dataset 'no/such/folder' does not exist (nor does the folder no/such)")


def test_hub_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach it\nmore")

    def no_config(*_: object, **__: object) -> None:
        raise ValueError("BuilderConfig 'x' not found.\nAvailable: ['sst2']")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    refused("nyu/glue", "data.dataset 'nyu/glue' is neither a file or folder here (nor does the folder nyu) nor a data")
    refused("glue", "set of the hub that can be reached (Couldn't reach it)")
    refused("csv", "data.dataset 'csv' is neither a file or folder here")
    monkeypatch.setattr(datasets, "load_dataset", no_config)
    refused("glue", "data.config_name 'x': BuilderConfig 'x' not found. Available: ['sst2']", config_name="x")


def test_hub_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = datasets.Dataset.from_list(ROWS)
    hub = datasets.DatasetDict({"train": rows, "dev": rows.select([0]), "dev_mismatched": rows.select([1])})
    asked = []

    def load(*args: object, **_: object) -> datasets.DatasetDict:
        asked.append(args)
        return hub

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_splits("org/name", "mnli")["validation"].to_list() == ROWS[:1]
    assert load_splits("org/name", splits={"validation": "dev+dev_mismatched"})["validation"].to_list() == ROWS[:2]
    assert asked == [("org/name", "mnli"), ("org/name", None)]


def test_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "own_rows_module.py",
        "import datasets\n"
        "def rows(): return {'train': [{'a': 1}, {'b': 'x'}], 'dev': datasets.Dataset.from_list([{'a': 1}])}\n"
        "def saved(): return datasets.DatasetDict(train=datasets.Dataset.from_list([{'a': 1}]))\n"
        "def single(): return [1]\n"
        "def strings(): return {'train': ['a']}\n"
        "def mixed(): return {'train': [{'a': 1}, {'a': 'x'}]}\n"
        "def empty(): return {'train': datasets.Dataset.from_dict({'a': []})}\n",
    )
    write(tmp_path / "needs_other_module.py", "import no_such_dependency\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = load_splits("own_rows_module:rows")
    assert loaded["train"].to_list() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]
    assert len(loaded["validation"]) == 1
    assert len(load_splits("own_rows_module:saved")["train"]) == 1
    refused("own_rows_module:rowz", "own_rows_module has no function 'rowz'. Did you mean 'rows'?")
    refused("own_rows_module:single", "returned list; it should return a dict from split names to rows")
    refused("own_rows_module:strings", "split 'train' is list; it should be a list of dicts or a datasets.Dataset")
    refused("own_rows_module:mixed", "split 'train', row 2: the column 'a' is 'x' (str), but int64 in the rows before it")
    refused("own_rows_module:empty", "the split 'train' has no rows")
    refused("no_such_module:rows", "there is no Python module 'no_such_module' here")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load_splits("needs_other_module:rows")


def test_package_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "own_rows_package" / "data" / "english"
    folder.mkdir(parents=True)
    write(tmp_path / "own_rows_package" / "__init__.py", "raise RuntimeError('imported')\n")
    write_rows(folder / "train.csv", ROWS)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve_package_path("package:own_rows_package/data/english") == folder
    assert resolve_package_path("package:own_rows_package") == tmp_path / "own_rows_package"
    assert load_splits("package:own_rows_package/data/english")["train"].to_list() == ROWS
    for name, message in [
        ("package:own_rows_package/data/englsh/x", "'data' has no 'englsh'. Did you mean 'english'?"),
        (
            "package:no_such_package/x",
            "the Python package 'no_such_package' is not installed; try: pip install no-such-",
        ),
        ("package:", "should read package:<module>/<path>"),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            resolve_package_path(name)

"""Splits of a data module: encoded, never stale, with stable ids and fingerprints."""

import importlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch

import ftlit.data
from ftlit.data import (
    ChatData,
    CorpusData,
    QuestionAnsweringData,
    RelationExtractionData,
    TextClassificationData,
    TextRegressionData,
)
from ftlit.data.text.encoding import tokenizer_state
from ftlit.errors import UserError
from ftlit.runs.checkpoint import check_order
from tests.support.command_line import ROOT
from tests.support.data import sentiment_rows, write_splits
from tests.support.models import tiny_tokenizer

Make = Callable[..., TextClassificationData]


@pytest.fixture
def make(tiny: Callable[[str], str]) -> Make:
    """A data module for the tiny model."""
    return lambda dataset, **options: TextClassificationData(dataset=str(dataset), backbone=tiny("bert"), **options)


def encoded(data: TextClassificationData, split: str = "train") -> list[dict[str, Any]]:
    """The examples of a split."""
    data.setup()
    return list(data.encoded[split])


def test_encoding_is_the_tokenizer_s(make: Make, sentiment: str) -> None:
    data = make(sentiment)
    for row, example in zip(data.rows.source["test"], encoded(data, "test"), strict=True):
        assert example["input_ids"] == data.tokenizer(row["text"])["input_ids"]
        assert data.label_names[example["labels"]] == row["label"]
        assert not example["truncated"]


def test_edited_file_is_never_stale(make: Make, tmp_path: Path) -> None:
    for word in ("good", "fine", "good"):
        folder = write_splits(tmp_path, {"train": [{"text": f"{word} word1", "label": i % 2} for i in range(20)]})
        os.utime(tmp_path / "train.jsonl", (1, 1))
        data = make(folder)
        assert {tuple(row["input_ids"]) for row in encoded(data)} == {tuple(data.tokenizer(f"{word} word1")["input_ids"])}


def test_encoding_is_cached_by_all_that_it_depends_on(make: Make, sentiment: str) -> None:
    def files(**options: Any) -> str:
        data = make(sentiment, **options)
        data.setup()
        return data.encoded["train"].cache_files[0]["filename"]

    first = files()
    assert files() == files(order_seed=5) == first
    assert files(max_length=9) != first
    assert files(label_names=["good", "bad"]) != first


OWN = """
from ftlit.data import TextClassificationData


class Own(TextClassificationData):
    def encode_inputs(self, columns):
        return super().encode_inputs({self.text: ["WORD " + text for text in columns[self.text]]})
"""


def test_code_of_one_s_own_is_never_stale(
    tiny: Callable[[str], str], sentiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for word in ("good", "bad"):
        name = f"own_{word}"  # as the file of a new process: modules of one process are read once
        (tmp_path / f"{name}.py").write_text(OWN.replace("WORD", word))
        data = importlib.import_module(name).Own(dataset=sentiment, backbone=tiny("bert"))
        assert {row["input_ids"][1] for row in encoded(data)} == set(data.tokenizer(word)["input_ids"][1:-1])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_batches_are_made_in_processes_that_are_not_forked(split: str, make: Make, sentiment: str) -> None:
    data = make(sentiment)
    data.setup()
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=0, world_size=1, accumulate_grad_batches=1, current_epoch=0, cannot=lambda: "be pickled"
    )
    loader = data.train_dataloader() if split == "train" else data.val_dataloader()
    fetch = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
    batch = next(iter(loader.batch_sampler))
    found, expected = (collate(rows.__getitems__(batch)) for rows, collate in (fetch, (loader.dataset, loader.collate_fn)))
    assert torch.equal(found["input_ids"], expected["input_ids"])


def test_changed_tokenizer_encodes_anew(make: Make, tiny: Callable[[str], str], sentiment: str, tmp_path: Path) -> None:
    before = encoded(make(sentiment))
    other = TextClassificationData(dataset=sentiment, backbone=_with_other_ids(tiny("bert"), tmp_path / "other"))
    assert [row["input_ids"] for row in encoded(other)] != [row["input_ids"] for row in before]


def _with_other_ids(backbone: str, folder: Path) -> str:
    folder.mkdir()
    for path in Path(backbone).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words["good"], words["bad"] = words["bad"], words["good"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return str(folder)


def test_tokenizers_with_one_backend_keep_apart(make: Make, tiny: Callable[[str], str], sentiment: str) -> None:
    states = {tokenizer_state(tiny_tokenizer(pairs)) for pairs in (True, False)}
    for change in ({"truncation_side": "left"}, {"pad_token": "[SEP]"}):
        tokenizer = tiny_tokenizer()
        for name, value in change.items():
            setattr(tokenizer, name, value)
        states.add(tokenizer_state(tokenizer))
    assert len(states) == 4
    assert tokenizer_state(tiny_tokenizer()) in states
    assert "token_type_ids" in encoded(make(sentiment))[0]
    assert "token_type_ids" not in encoded(TextClassificationData(dataset=sentiment, backbone=tiny("distilbert")))[0]


def test_a_run_goes_on_with_the_encoding_that_it_began_with(make: Make, sentiment: str) -> None:
    def order(**options: Any) -> dict[str, str]:
        data = make(sentiment, **options)
        data.setup()
        return data.resume_signature(SimpleNamespace(accumulate_grad_batches=1, world_size=1))

    then = order()
    check_order({"order": then}, order())
    with pytest.raises(UserError, match=r"has changed: the encoding of the data was \w+, is \w+; resume with"):
        check_order({"order": then}, order(label_names=["good", "bad"]))
    with pytest.raises(UserError, match=r"data\.max_length was 64, is 32"):
        check_order({"order": then}, order(max_length=32))
    before = {name: value for name, value in then.items() if name != "the encoding of the data"}
    check_order({"order": before}, order())  # as runs of an earlier version left it


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_length": 0}, "data.max_length must be at least 1, got 0"),
        ({"limit_train": 0}, "data.limit_train must be at least 1, got 0"),
        ({"limit_validation": -1}, "data.limit_validation must be at least 1, got -1"),
        ({"limit_test": 0}, "data.limit_test must be at least 1, got 0"),
        ({"shots": 0}, "data.shots must be at least 1, got 0"),
        ({"num_workers": -1}, "data.num_workers must be from 0 to 256, got -1"),
        ({"augmented_copies": 0}, "data.augmented_copies must be at least 1, got 0"),
        ({"validation_share": 0.0}, "data.validation_share must be above 0 and below 1, got 0.0"),
        ({"validation_share": 1.0}, "data.validation_share must be above 0 and below 1, got 1.0"),
    ],
)
def test_numbers_out_of_bounds(make: Make, sentiment: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        make(sentiment, **options)
    assert str(error.value) == said


def test_special_tokens_leave_room(make: Make, sentiment: str, grades: str, tiny: Callable[[str], str]) -> None:
    for length in (1, 2):
        with pytest.raises(UserError, match=rf"data\.max_length should be above 2, .* adds, got {length}"):
            make(sentiment, max_length=length).setup()
    make(sentiment, max_length=3).setup()
    pairs = TextRegressionData(dataset=grades, backbone=tiny("bert"), label="score", text_pair="other", max_length=3)
    with pytest.raises(UserError, match=r"data\.max_length should be above 3"):
        pairs.setup()


@pytest.mark.parametrize(
    "encode",
    [
        lambda folder: CorpusData(dataset=folder, backbone=folder, objective="causal").encode,
        lambda folder: ChatData(dataset=folder, backbone=folder, messages="messages").encode,
        lambda folder: QuestionAnsweringData(dataset=folder, backbone=folder, max_length=32, stride=4).encode_inputs,
        lambda folder: RelationExtractionData(dataset=folder, backbone=folder).encode_inputs,
    ],
)
def test_tokenizers_without_offsets_are_named(tiny: Callable[[str], str], encode: Callable[[str], Any]) -> None:
    call = encode(tiny("bert"))
    call.__self__.tokenizer = SimpleNamespace(is_fast=False)
    with pytest.raises(UserError, match=r"the tokenizer of '.*' does not report the position of each token"):
        call({})


def test_truncation_is_counted_and_keeps_the_special_tokens(make: Make, sentiment: str) -> None:
    data = make(sentiment, max_length=8)
    for row, example in zip(data.rows.source["train"], encoded(data), strict=True):
        whole = data.tokenizer(row["text"])["input_ids"]
        assert example["truncated"] == (len(whole) > 8)
        assert example["input_ids"] == (whole if len(whole) <= 8 else [*whole[:7], data.tokenizer.sep_token_id])
    assert any(row["truncated"] for row in encoded(data))


def test_length_above_the_model_s_limit(make: Make, sentiment: str) -> None:
    assert make(sentiment).max_length == 64
    with pytest.raises(UserError, match=r"data.max_length is 65, but '.*' takes at most 64 tokens"):
        make(sentiment, max_length=65)


def test_label_names_are_sorted_as_numbers_are(make: Make, tmp_path: Path) -> None:
    rows = [{"text": "word1", "label": label} for label in (10, 9, -1, 100) for _ in range(5)]
    assert make(write_splits(tmp_path, {"train": rows})).label_names == ["-1", "9", "10", "100"]


def test_given_label_names_keep_their_order(make: Make, sentiment: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("good\nbad\n\n", encoding="utf-8-sig")
    for names in (["good", "bad"], str(tmp_path / "names.txt")):
        data = make(sentiment, label_names=names)
        assert data.label_names == ["good", "bad"]
        labels = [row["label"] for row in data.rows["train"]]
        assert [row["labels"] for row in encoded(data)] == [int(label == "bad") for label in labels]
        assert data.label_counts == [labels.count("good"), labels.count("bad"), 83]


def test_ids_are_positions_in_the_source_or_its_own(make: Make, sentiment: str, tmp_path: Path) -> None:
    data = make(sentiment, limit_test=5)
    kept = {row["row_id"]: row["text"] for row in data.rows["test"]}
    every = make(sentiment).rows["test"]["text"]
    assert kept == {f"test:{i}": every[i] for i in (int(name.split(":")[1]) for name in kept)}
    rows = [{"id": f"n{i}", **row} for i, row in enumerate(sentiment_rows(20, 0))]
    own = make(write_splits(tmp_path, {"train": rows, "validation": rows}))
    assert own.rows["train"]["row_id"][:2] == ["train:n0", "train:n1"]


def test_fingerprints_tell_content_and_nothing_else(make: Make, tmp_path: Path) -> None:
    splits = {"train": sentiment_rows(30, 0), "validation": sentiment_rows(20, 1)}
    first = make(write_splits(tmp_path / "a", splits)).fingerprints
    assert make(write_splits(tmp_path / "b", splits)).fingerprints == first
    splits["validation"][3]["text"] += " good"
    changed = make(write_splits(tmp_path / "a", splits)).fingerprints
    assert changed["train"] == first["train"]
    assert changed["validation"] != first["validation"]


def test_validation_is_cut_from_train_by_the_data_s_seed(make: Make, tmp_path: Path) -> None:
    folder = write_splits(tmp_path, {"train": sentiment_rows(60, 0)})
    first = make(folder)
    cut = {split: set(rows["row_id"]) for split, rows in first.rows.items()}
    assert not cut["train"] & cut["validation"]
    assert len(cut["train"] | cut["validation"]) == 60
    assert make(folder, order_seed=1).fingerprints == first.fingerprints
    assert make(folder, seed=1).fingerprints != first.fingerprints
    assert len(make(folder, validation_share=0.5).rows["validation"]) == 30


def test_shots_leave_the_other_splits_whole(make: Make, sentiment: str) -> None:
    rows = make(sentiment, shots=3).rows
    assert sorted(rows["train"]["label"]) == ["bad"] * 3 + ["good"] * 3
    assert (len(rows["validation"]), len(rows["test"])) == (31, 37)


def test_shots_need_classes(tiny: Callable[[str], str], grades: str) -> None:
    data = TextRegressionData(dataset=grades, backbone=tiny("bert"), label="score", shots=2)
    with pytest.raises(UserError, match=r"data.shots takes rows of each class, and TextRegressionData has none"):
        data.setup()


def test_what_a_task_takes_from_its_data(make: Make, sentiment: str, grades: str, tiny: Callable[[str], str]) -> None:
    data = make(sentiment)
    names = {"label_names": ["bad", "good"], "label_counts": data.label_counts, "pad_token_id": 0}
    assert data.task_arguments() == names
    assert sum(data.label_counts[:2]) == data.label_counts[2] == 83
    numbers = TextRegressionData(dataset=grades, backbone=tiny("bert"), label="score").task_arguments()
    assert numbers.keys() == {"label_scale", "pad_token_id"}
    chats = ChatData(dataset=sentiment, backbone=tiny("bert"), prompt="text", response="label", template="alpaca")
    chats.tokenizer.eos_token = "[SEP]"
    assert chats.task_arguments() == {"pad_token_id": 0, "stop_id": 3, "add_tokens": None}


def test_a_part_of_the_package_is_imported_alone() -> None:
    check = "import sys, ftlit.data.rows.augment; print('torch' in sys.modules, 'ftlit.data.chat' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_name_of_the_package_is_a_class_that_type_checkers_know() -> None:
    stub = Path(ftlit.data.__file__).read_text()
    for name in ftlit.data.__all__:
        kind = getattr(ftlit.data, name)
        assert f"    from {kind.__module__} import {name} as {name}\n" in stub
    assert stub.count(" as ") == len(ftlit.data.__all__)


def test_missing_split_is_named(make: Make, tmp_path: Path) -> None:
    data = make(write_splits(tmp_path, {"train": sentiment_rows(60, 0)}))
    data.setup()
    with pytest.raises(UserError, match="has no test split; it has train, validation"):
        data.test_dataloader()


def test_batches_of_an_evaluation(make: Make, sentiment: str) -> None:
    data = make(sentiment)
    examples = encoded(data, "test")
    random = torch.get_rng_state()
    seen = []
    for batch in data.test_dataloader():
        for i, ids, mask, label in zip(*(batch[k] for k in ("ids", "input_ids", "attention_mask", "labels")), strict=True):
            assert ids[mask.bool()].tolist() == examples[i]["input_ids"]
            assert label == examples[i]["labels"]
            seen.append(int(i))
    assert sorted(seen) == list(range(37))
    assert torch.equal(torch.get_rng_state(), random)  # evaluation changes nothing of training


def test_a_position_stands_for_a_label_only_where_names_were_given(make: Make, tmp_path: Path) -> None:
    rows = [{"text": "word1", "label": label} for label in ("1", "2", "3") * 5]
    found = make(write_splits(tmp_path / "numbers", {"train": rows}))
    assert found.label_ids == {"1": 0, "2": 1, "3": 2}
    positions = [{"text": "word1", "label": i} for i in (0, 1) * 5]
    named = make(write_splits(tmp_path / "positions", {"train": positions}), label_names=["cat", "dog"])
    assert [named.label_ids[name] for name in ("cat", "dog", "0", "1")] == [0, 1, 0, 1]


def test_a_split_can_be_left_out(make: Make, sentiment: str) -> None:
    assert set(make(sentiment, splits={"test": None}).rows) == {"train", "validation"}


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (None, "train row 3: label"),
        (["5000", "5001", "5002"], "train row with id '5002': label"),
        (["q", "q#2", "q#3"], "train row with id 'q#3': label"),
    ],
)
def test_a_row_is_named_by_its_place_or_its_own_id(make: Make, tmp_path: Path, ids: list[str] | None, said: str) -> None:
    rows: list[dict[str, Any]] = [{"text": "word1", "label": label} for label in ("good", "bad", "ugly")]
    if ids:
        rows = [{"id": name, **row} for name, row in zip(ids, rows, strict=True)]
    data = make(write_splits(tmp_path, {"train": rows, "validation": rows}), label_names=["good", "bad"])
    with pytest.raises(UserError) as error:
        data.setup()
    assert said in str(error.value)
    assert data.rows.source["train"]["row_id"][:] == [f"train:{name}" for name in ids or range(3)]


def rated(folder: Path, names: list[str]) -> Path:
    """A data set on disk whose labels are positions of names, in turn."""
    rows = {"text": [f"word{i}" for i in range(30)], "label": [i % len(names) for i in range(30)]}
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features)}).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize("given", [None, ["5", "1", "0"], ["0", "1", "5"]])
def test_class_labels_are_known_by_their_names(given: list[str] | None, make: Make, tmp_path: Path) -> None:
    """Such a column holds positions, which are no names even where these are numbers, nor positions in another order."""
    names = ["5", "1", "0"]
    data = make(rated(tmp_path / "d", names), label_names=given)
    assert data.label_names == (given or names)
    shown = [data.record_at("train", i) for i in range(len(data.rows["train"]))]
    assert all(row["label"] == names[int(row["text"].removeprefix("word")) % 3] for row in shown)
    assert [data.label_names[row["labels"]] for row in encoded(data)] == [row["label"] for row in shown]
    noisy = make(tmp_path / "d", label_names=given, label_noise=0.5)
    others = [noisy.record_at("train", i)["label"] for i in range(len(shown))]
    wrong = sum(row["label"] != label for row, label in zip(shown, others, strict=True))
    assert wrong == noisy.modification_counts["labels made wrong"] > 0


def test_class_labels_may_get_better_names(make: Make, tmp_path: Path) -> None:
    data = make(rated(tmp_path / "d", ["LABEL_0", "LABEL_1"]), label_names=["bad", "good"])
    shown = [data.record_at("train", i) for i in range(len(data.rows["train"]))]
    assert all(row["label"] == ["bad", "good"][int(row["text"].removeprefix("word")) % 2] for row in shown)


def test_the_document_of_a_row_is_kept_for_its_prediction(make: Make, tiny: Callable[[str], str], tmp_path: Path) -> None:
    rows = [{**row, "page": i // 4} for i, row in enumerate(sentiment_rows(40, 0))]
    dataset = write_splits(tmp_path / "paged", {"train": rows, "validation": rows})
    data = make(dataset, group="page")
    assert [data.record_at("validation", i)["group"] for i in (0, 3, 4, 39)] == [0, 0, 1, 9]
    assert "group" not in make(dataset).record_at("validation", 0)
    with pytest.raises(UserError, match=r"data\.group: .*no column 'pages'\. Did you mean 'page'\?"):
        _ = make(dataset, group="pages").rows["train"]
    with pytest.raises(UserError, match=r"data\.group names the documents of rows, but CorpusData scores blocks"):
        CorpusData(dataset=dataset, backbone=tiny("llama"), objective="causal", group="page")

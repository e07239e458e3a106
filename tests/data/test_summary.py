"""The data report: lengths before truncation, unknown tokens, majority baselines, and what is not computed twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from ftlit.data import (
    ChatData,
    CorpusData,
    MultipleChoiceData,
    QuestionAnsweringData,
    RelationExtractionData,
    Seq2SeqData,
    TextClassificationData,
    TextRegressionData,
    TokenClassificationData,
)
from ftlit.data.shared.base import TaskData
from ftlit.data.shared.summary import data_report, data_text
from ftlit.data.text.lengths import LIMITS, unknown_id
from ftlit.errors import UserError
from tests.support.chats import chat_model
from tests.support.data import sentiment_rows, write_splits
from tests.support.models import tiny_tokenizer
from tests.support.questions import question_splits
from tests.support.tagged import letters_model, tagged_splits

Tiny = Callable[[str], str]


def check(data: TaskData, expected: dict[str, tuple[list[int], int | None]], split: str = "train") -> None:
    """Compare the lengths of each part with sizes counted in another way, and its limit."""
    data.setup()
    found = data.text_lengths(split)
    assert list(found) == list(expected)
    for part, (sizes, limit) in expected.items():
        points = np.percentile(sizes, [50, 95, 100]).astype(int).tolist()
        assert [found[part][name] for name in ("median", "p95", "longest")] == points, part
        assert found[part].get("limit") == limit
        if limit is None:
            assert "beyond" not in found[part]
            continue
        assert set(found[part]["beyond"]) == {str(size) for size in (*LIMITS, limit)}
        for size in (limit, 64):
            cut = [max(0, n - size) for n in sizes]
            shares = {"examples": np.mean([n > 0 for n in cut]), "tokens": sum(cut) / sum(sizes)}
            assert found[part]["beyond"][str(size)] == pytest.approx(shares), (part, size)


def words(rows: Any, column: str) -> list[int]:
    """Number of words, which are the tokens of the tiny tokenizer."""
    return [len(text.split()) for text in rows[column]]


def test_texts_have_their_lengths_before_they_are_cut(tiny: Tiny, sentiment: str) -> None:
    data = TextClassificationData(dataset=sentiment, backbone=tiny("bert"), max_length=9)
    check(data, {"text": ([n + 2 for n in words(data.rows["train"], "text")], 9)})
    found = data.text_lengths("train")["text"]
    assert found["longest"] > 15
    assert found["beyond"]["9"]["examples"] == np.mean(data.encoded["train"]["truncated"][:])
    assert data.encoded["train"].column_names == ["input_ids", "token_type_ids", "truncated", "labels", "row"]


def test_both_texts_of_a_pair(tiny: Tiny, grades: str) -> None:
    keys = {"text_pair": "other", "label": "score"}
    for backbone in ("bert", "roberta"):
        data = TextRegressionData(dataset=grades, backbone=tiny(backbone), max_length=20, **keys)
        sizes = words(data.rows["train"], "text")
        check(data, {"text": (sizes, None), "text_pair": (sizes, None), "text and text_pair": ([2 * n + 3 for n in sizes], 20)})


def test_each_choice_apart(tiny: Tiny, questions: str) -> None:
    data = MultipleChoiceData(dataset=questions, backbone=tiny("bert"), max_length=16)
    rows = list(data.rows["train"])
    pairs = [(len(row["question"].split()), len(choice.split())) for row in rows for choice in row["choices"]]
    whole = [a + b + 3 for a, b in pairs]
    expected = {"question": ([a for a, _ in pairs], None), "choice": ([b for _, b in pairs], None)}
    check(data, {**expected, "question and choice": (whole, 16)})


@pytest.mark.parametrize("joined", [False, True])
def test_sources_and_targets_apart(tiny: Tiny, tiny_seq2seq: Tiny, tmp_path: Path, joined: bool) -> None:
    targets = [["fine " * (2 * n), "bad"] for n in range(1, 30)]
    rows = [{"source": "good " * n, "target": texts, "passage": "bad"} for n, texts in enumerate(targets, start=1)]
    dataset = write_splits(tmp_path, {"train": rows, "validation": rows[:2]})
    names = {"backbone": tiny("bert"), "decoder": tiny("bert")} if joined else {"backbone": tiny_seq2seq("t5")}
    data = Seq2SeqData(dataset=dataset, max_length=12, max_target_length=7, **names)
    source, target = [n + 2 for n in range(1, 30)], [2 * n + (1 if joined else 2) for n in range(1, 30)]
    check(data, {"target": (target, 7), "source": (source, 12)})
    context = Seq2SeqData(dataset=dataset, max_length=12, max_target_length=7, context="passage", **names)
    context.setup()
    assert list(context.text_lengths("train")) == ["target", "source", "context", "source and context"]


def test_questions_and_whole_contexts(tiny: Tiny, tmp_path: Path) -> None:
    data = QuestionAnsweringData(dataset=question_splits(tmp_path), backbone=tiny("bert"), max_length=24, stride=5)
    question, context = (words(data.rows["train"], name) for name in ("question", "context"))
    whole = [a + b + 3 for a, b in zip(question, context, strict=True)]
    check(data, {"question": (question, None), "context": (context, None), "question and context": (whole, 24)})
    assert len(data.encoded["train"]) > len(question)
    assert all(part["unknown"] == 0 for part in data.text_lengths("train").values())


def test_whole_texts_of_words_with_tags(tiny: Tiny, tmp_path: Path) -> None:
    dataset = write_splits(tmp_path / "rows", tagged_splits())
    backbone = letters_model(tiny("bert"), tmp_path / "letters")
    data = TokenClassificationData(dataset=dataset, backbone=backbone, max_length=12, stride=3)
    check(data, {"text": ([sum(map(len, row["tokens"])) + 2 for row in data.rows["train"]], 12)})
    assert len(data.encoded["train"]) > len(data.rows["train"])


def test_texts_with_marked_entities(tiny: Tiny, tmp_path: Path) -> None:
    span = {"head": {"start": 0, "end": 4}, "tail": {"start": 5, "end": 8}}
    rows = [{"text": f"good bad{' word1' * n}", **span, "relation": "ab"[n % 2]} for n in range(20)]
    dataset = write_splits(tmp_path, {"train": rows, "validation": rows[:2]})
    data = RelationExtractionData(dataset=dataset, backbone=tiny("bert"), max_length=12)
    check(data, {"text": ([n + 8 for n in range(20)], 12)})


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_whole_documents(tiny: Tiny, sentiment: str, kind: str) -> None:
    objective = "masked" if kind == "bert" else "causal"
    for size in (16, 8):  # the documents are encoded once, whatever the length of the blocks
        data = CorpusData(dataset=sentiment, backbone=tiny(kind), objective=objective, max_length=size)
        check(data, {"document": (words(data.rows["train"], "text"), size)})


def test_conversations_that_leave_nothing_to_learn_are_counted_too(tmp_path: Path) -> None:
    rows = [{"prompt": "a" * (5 * n), "response": "b"} for n in range(1, 60)]
    dataset = write_splits(tmp_path / "rows", {"train": rows, "validation": rows[:2]})
    given = {"prompt": "prompt", "response": "response", "template": "alpaca", "max_length": 240}
    data = ChatData(dataset=dataset, backbone=chat_model(tmp_path / "model"), **given)
    data.setup()
    first = data.encoded["train"][0]["input_ids"]  # of the shortest conversation; the others have five bytes more each
    whole = [len(first) + 5 * i for i in range(len(rows))]
    left_out = len(rows) - len(data.encoded["train"])
    assert 0 < left_out < len(rows)
    found = data.text_lengths("train")
    assert found["conversation"]["longest"] == max(whole)
    assert found["conversation"]["beyond"]["240"]["examples"] == pytest.approx(np.mean([n > 240 for n in whole]))


# Unknown tokens


def test_unknown_tokens_are_counted_where_a_text_is_cut_too(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(["good fine lovely strange", "good odd"] * 5)]
    splits = {"train": rows, "validation": [{**row, "text": "good fine"} for row in rows[:2]]}
    data = TextClassificationData(dataset=write_splits(tmp_path, splits), backbone=tiny("bert"), max_length=4)
    data.setup()
    report = data_report(data)
    assert report["splits"]["train"]["lengths"]["text"]["unknown"] == 2 / 6
    assert report["splits"]["validation"]["lengths"]["text"]["unknown"] == 0
    sentence = (
        f"train: 33.3% of the tokens of text are unknown to the tokenizer of {tiny('bert')!r}, so the model cannot read them; "
        "choose a model.backbone that knows this language or script"
    )
    assert report["warnings"] == [sentence]
    assert data_text(report).splitlines()[-1] == f"Warning: {sentence}"


def test_a_few_unknown_tokens_are_no_warning(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": "good " * 19 + ("odd" if i else "bad"), "label": "ab"[i % 2]} for i in range(10)]
    dataset = write_splits(tmp_path, {"train": rows, "validation": rows[:2]})
    data = TextClassificationData(dataset=dataset, backbone=tiny("bert"))
    data.setup()
    report = data_report(data)
    assert report["splits"]["train"]["lengths"]["text"]["unknown"] == pytest.approx(0.045)
    assert report["warnings"] == []


def test_words_with_tags_may_be_unknown(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"tokens": ["ab", "猫"], "tags": ["B-PER", "O"]}] * 4
    dataset = write_splits(tmp_path / "rows", {"train": rows, "validation": rows[:2]})
    data = TokenClassificationData(dataset=dataset, backbone=letters_model(tiny("bert"), tmp_path / "letters"))
    data.setup()
    assert data.text_lengths("train")["text"]["unknown"] == 1 / 3


def test_a_token_with_another_use_is_not_unknown() -> None:
    tokenizer = tiny_tokenizer()
    assert unknown_id(tokenizer) == 1
    same = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, unk_token="[SEP]", eos_token="[SEP]")
    assert unknown_id(same) is None


# Majority baselines


def majority(data: TaskData, split: str = "train") -> Any:
    return data.majority(data.rows[split])


def test_the_commonest_label_of_each_split(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": f"word{i}", "label": label} for i, label in enumerate(["bad", "good", "good", "bad", "good"])]
    dataset = write_splits(tmp_path, {"train": rows, "validation": rows[:3], "test": [rows[0], rows[3], rows[1]]})
    data = TextClassificationData(dataset=dataset, backbone=tiny("bert"))
    data.setup()
    splits = data_report(data)["splits"]
    assert splits["train"]["majority"] == {"answer": "good", "share": 0.6}
    assert splits["test"]["majority"] == {"answer": "bad", "share": 2 / 3}
    lines = [line.split() for line in data_text(data_report(data)).splitlines()]
    assert lines[2] == ["train", "5", "0", "0.0%", "60.0%", "(good)"]


def test_the_commonest_answer_of_other_tasks(tiny: Tiny, emotions: str, grades: str, questions: str, tmp_path: Path) -> None:
    several = TextClassificationData(dataset=emotions, backbone=tiny("bert"), label="labels", multi_label=True)
    sets = [tuple(sorted(names)) for names in several.rows["train"]["labels"]]
    assert majority(several)["share"] == max(map(sets.count, sets)) / len(sets)
    assert tuple(sorted(majority(several)["answer"])) == max(sets, key=sets.count)
    numbers = TextRegressionData(dataset=grades, backbone=tiny("bert"), label="score")
    scores = np.array(numbers.rows["train"]["score"][:])
    assert majority(numbers) == pytest.approx({"answer": scores.mean(), "mse": ((scores - scores.mean()) ** 2).mean()})
    choices = MultipleChoiceData(dataset=questions, backbone=tiny("bert"))
    places = choices.rows["train"]["label"][:]
    most = max(places, key=places.count)
    assert majority(choices) == {"answer": f"choice {most + 1}", "share": places.count(most) / len(places)}
    answerable = QuestionAnsweringData(
        dataset=question_splits(tmp_path / "all"), backbone=tiny("bert"), max_length=24, stride=5
    )
    assert majority(answerable) is None
    some = QuestionAnsweringData(
        dataset=question_splits(tmp_path / "some", 0.5), backbone=tiny("bert"), max_length=24, stride=5
    )
    empty = sum(not answers for answers in some.rows["train"]["answers"])
    assert majority(some) == {"answer": "no answer", "share": empty / 40}


def test_the_commonest_tag_without_spans(tiny: Tiny, tmp_path: Path) -> None:
    dataset = write_splits(tmp_path / "rows", tagged_splits())
    backbone = letters_model(tiny("bert"), tmp_path / "letters")
    data = TokenClassificationData(dataset=dataset, backbone=backbone, spans=False)
    tags = [tag for row in data.rows["train"] for tag in row["tags"]]
    most = max(tags, key=tags.count)
    assert majority(data) == {"answer": most, "share": tags.count(most) / len(tags)}
    assert majority(TokenClassificationData(dataset=dataset, backbone=backbone)) is None


# Masked tokens


def test_the_share_that_is_really_masked(tiny: Tiny, tmp_path: Path) -> None:
    lines = [row["text"] for row in sentiment_rows(400, 0)]
    dataset = write_splits(tmp_path, {"train": [{"text": line} for line in lines], "validation": [{"text": lines[0]}]})
    backbone = _with_mask(tiny("bert"), tmp_path / "mask")
    given = {"dataset": dataset, "backbone": backbone, "objective": "masked"}
    data = CorpusData(**given, max_length=64)
    data.setup()
    report = data_report(data)
    assert report["splits"]["train"]["shares"]["of the tokens are masked"] == pytest.approx(0.15, abs=0.02)
    assert "train: 1" in data_text(report)
    short = CorpusData(**given, max_length=5)  # blocks of three tokens, of which at least one is masked
    short.setup()
    report = data_report(short)
    share = report["splits"]["train"]["shares"]["of the tokens are masked"]
    assert share == pytest.approx(0.15 + 0.85**3 / 3, abs=0.05)
    assert report["warnings"][0].startswith(f"train: {share:.0%} of the tokens are masked, not about 15% as model.mask_prob")


def test_words_that_would_all_be_masked_are_refused(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": "abcdefgh" * 3} for _ in range(8)]  # one word, of which every letter is a token
    dataset = write_splits(tmp_path / "rows", {"train": rows, "validation": rows[:2]})
    backbone = letters_model(tiny("bert"), tmp_path / "letters")
    given = {"dataset": dataset, "backbone": backbone, "objective": "masked", "packing": False, "max_length": 32}
    CorpusData(**given).setup()
    with pytest.raises(UserError) as caught:
        CorpusData(**given, whole_words=True).setup()
    assert str(caught.value) == (
        "model.whole_words would mask 100% of the tokens, and model.mask_probability is 0.15: the texts have too few words for "
        "their tokens; set model.whole_words: false"
    )


def _with_mask(folder: str, to: Path) -> str:
    """A copy of a tiny model whose tokenizer has a mask token."""
    backbone = letters_model(folder, to)
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    tokenizer.save_pretrained(backbone)
    return backbone


# The cache


def fail(*_: Any, **__: Any) -> None:
    raise AssertionError("this was computed before")


def test_what_is_known_is_not_computed_again(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": sentiment_rows(50, 7), "validation": sentiment_rows(20, 8)}
    splits["validation"][3] = splits["train"][2]
    dataset = write_splits(tmp_path, splits)

    def start(**options: Any) -> dict[str, Any]:
        data = TextClassificationData(dataset=dataset, backbone=tiny("bert"), **options)
        data.setup()
        return data_report(data)

    first = start()
    assert first["overlap"]["validation"]["exact"] >= 1
    with monkeypatch.context() as patch:
        for name in ("encode", "joined_texts", "balance", "majority", "counts", "lengths"):
            patch.setattr(TextClassificationData, name, fail)
        patch.setattr("ftlit.data.rows.rows.fingerprint", fail)
        assert start() == first
    monkeypatch.setattr(TextClassificationData, "joined_texts", fail)
    assert start(max_length=8)["overlap"] == first["overlap"], "duplicates do not depend on lengths"
    monkeypatch.undo()
    splits["train"][2] = {"text": "word1 word2 word3", "label": "good"}
    write_splits(tmp_path, splits)
    other = start()
    assert other["overlap"]["validation"]["exact"] < first["overlap"]["validation"]["exact"]
    assert other["splits"]["train"]["fingerprint"] != first["splits"]["train"]["fingerprint"]


@pytest.mark.parametrize("content", [None, "{"], ids=["missing", "damaged"])
def test_lengths_that_are_lost_are_counted_again(tiny: Tiny, tmp_path: Path, content: str | None) -> None:
    rows = sentiment_rows(30, 9 if content else 10)
    dataset = write_splits(tmp_path, {"train": rows, "validation": rows[:4]})

    def start() -> TextClassificationData:
        data = TextClassificationData(dataset=dataset, backbone=tiny("bert"))
        data.setup()
        return data

    first = start()
    place = Path(first.encoded["train"].cache_files[0]["filename"]).with_suffix(".lengths.json")
    before = place.read_bytes()
    place.unlink() if content is None else place.write_text(content)
    again = start()
    assert again.text_lengths("train") == first.text_lengths("train")
    assert again.encoded["train"][:] == first.encoded["train"][:]
    assert place.read_bytes() == before
    assert place.is_relative_to(datasets.config.HF_DATASETS_CACHE)


# What is printed


def test_two_thousand_labels_stay_readable(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": f"word{i % 70}", "label": f"class {i}"} for i in range(2000)]
    names = [row["label"] for row in rows]
    dataset = write_splits(tmp_path, {"train": rows, "validation": rows})
    data = TextClassificationData(dataset=dataset, backbone=tiny("bert"), label_names=names)
    data.setup()
    lines = data_text(data_report(data)).splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) < 400
    assert sum("and 1988 more" in line for line in lines) == 2


def test_the_table_ends_where_nothing_is_cut_any_more(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": "good " * n, "label": label} for n, label in ((10, "a"), (70, "b"), (150, "a"))]
    dataset = write_splits(tmp_path, {"train": rows, "validation": rows[:2]})
    data = TextClassificationData(dataset=dataset, backbone=tiny("bert"), max_length=64)
    data.setup()
    lines = data_text(data_report(data)).splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("tokens"))
    assert " ".join(lines[header].split()) == "tokens median 95% longest unknown limit > 64 > 128 > 256"
    assert " ".join(lines[header + 2].split()) == "train: text 72 144 152 0.0% 64 66.7% / 40.7% 33.3% / 10.2% 0"

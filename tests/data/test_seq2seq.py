"""Sources and targets as the model reads and writes them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

from ftlit.data import Seq2SeqData
from ftlit.data.batches.batching import MicroBatch
from ftlit.errors import UserError
from ftlit.models.generation import Generation
from ftlit.tasks import Seq2Seq
from tests.support.data import GOOD, write_splits

Tiny = Callable[[str], str]
CLS, SEP = 2, 3
ROWS = [
    {"source": "good fine", "target": "fine good", "passage": "lovely"},
    {"source": "great", "target": ["superb great good fine lovely", "great"], "passage": "good"},
]


def ids(text: str) -> list[int]:
    """The words of a text as the tiny tokenizer counts them."""
    return [4 + GOOD.index(word) for word in text.split()]


@pytest.fixture
def make(tiny: Tiny, tiny_seq2seq: Tiny, tmp_path: Any) -> Callable[..., Seq2SeqData]:
    """A data module over two rows, for T5 or for two BERTs."""

    def build(rows: list[dict[str, Any]] = ROWS, joined: bool = False, **options: Any) -> Seq2SeqData:
        names = {"backbone": tiny("bert"), "decoder": tiny("bert")} if joined else {"backbone": tiny_seq2seq("t5")}
        # Rows of one file have columns of one type, so every target is a list.
        rows = [{**row, "target": [t] if isinstance(t := row["target"], str) else t} for row in rows]
        folder = write_splits(tmp_path / f"rows{len(list(tmp_path.iterdir()))}", {"train": rows, "validation": rows})
        return Seq2SeqData(**{"dataset": folder, **names, **options})

    return build


def encoded(data: Seq2SeqData) -> dict[str, list[Any]]:
    data.setup()
    return data.encoded["train"][:]


def test_sources_have_their_prefix_and_targets_their_end(make: Any) -> None:
    found = encoded(make(prefix="superb "))
    assert found["input_ids"] == [[CLS, *ids("superb good fine"), SEP], [CLS, *ids("superb great"), SEP]]
    assert found["labels"][0] == [CLS, *ids("fine good"), SEP]
    assert found["loss_weights"] == [4, 7]
    assert make(prefix="superb ").encode_inputs({"source": ["good fine"]})["input_ids"] == found["input_ids"][:1]


def test_a_joined_decoder_begins_by_itself(make: Any) -> None:
    found = encoded(make(joined=True))
    assert found["labels"] == [[*ids("fine good"), SEP], [*ids("superb great good fine lovely"), SEP]]
    assert found["loss_weights"] == [3, 6]


@pytest.mark.parametrize("joined", [False, True])
def test_truncated_targets_keep_their_end_and_are_counted(make: Any, joined: bool) -> None:
    data = make(joined=joined, max_target_length=5, max_length=3)
    found = encoded(data)
    assert found["target_truncated"] == [False, True]
    start = [] if joined else [CLS]
    assert found["labels"][1] == [*start, *ids("superb great good fine")[: 4 - len(start)], SEP]
    assert found["input_ids"][0] == [CLS, *ids("good"), SEP]
    assert data.counts("train") == {"sources cut at 3 tokens": 1, "targets cut at 5 tokens": 1}


def test_the_first_reference_trains_and_all_are_scored(make: Any) -> None:
    data = make()
    batch = data._collate((encoded(data), MicroBatch([0, 1], 11.0)))
    assert batch["metadata"]["reference"] == [["fine good"], ["superb great good fine lovely", "great"]]
    assert batch["labels"].tolist()[0] == [CLS, *ids("fine good"), SEP, -100, -100, -100]
    assert batch["loss_weights"].tolist() == [4, 7]
    assert data.record_at("train", 1)["label"] == ["superb great good fine lovely", "great"]


def test_references_may_stand_in_several_columns(make: Any) -> None:
    rows = [{"source": "good", "target": "fine", "second": "great", "third": None}]
    rows += [{"source": "good", "target": "fine", "second": "", "third": "superb"}]
    data = make(rows, target=["second", "third"], max_target_length=5)
    assert data.columns() == {"source": "source", "target[0]": "second", "target[1]": "third"}
    assert data.validate_row(rows[0]) is None
    assert data.validate_row(rows[1]) == "the text in column 'second' is empty"
    data = make([rows[0], {**rows[1], "second": "lovely"}], target=["second", "third"])
    found = encoded(data)
    assert found["reference"] == [["great"], ["lovely", "superb"]]
    assert found["labels"][1] == [CLS, *ids("lovely"), SEP]
    assert data.record_at("train", 1)["label"] == ["lovely", "superb"]
    with pytest.raises(UserError, match=r"data\.target\[0\] and data\.target\[1\] are both the column 'third'"):
        make(rows, target=["third", "third"]).setup()


def test_lengths_are_those_of_source_and_target(make: Any) -> None:
    data = make()
    data.setup()
    assert data.lengths("train").tolist() == [4 + 4, 3 + 7]


def test_the_context_comes_after_the_source(make: Any) -> None:
    data = make(joined=True, context="passage")
    found = encoded(data)
    assert found["input_ids"][0] == [CLS, *ids("good fine"), SEP, *ids("lovely"), SEP]
    assert found["token_type_ids"][0] == [0, 0, 0, 0, 1, 1]
    assert data.row_from_text("good") is None
    assert data.joined_texts(data.rows["train"]) == ["good fine\nlovely", "great\ngood"]


def test_targets_go_through_the_target_side_of_a_tokenizer(make: Any) -> None:
    data = make()
    plain = data.tokenizer

    class TwoSided:
        all_special_tokens, added_tokens_decoder = plain.all_special_tokens, plain.added_tokens_decoder

        def __call__(self, *texts: Any, text_target: Any = None, **options: Any) -> Any:
            if text_target is None:
                return plain(*texts, **options)
            return {"input_ids": [[90 + len(text.split())] for text in text_target]}

    data.__dict__["tokenizer"] = TwoSided()
    found = data.encode({"source": ["good"], "target": [["great fine"]]})
    assert found["labels"] == [[92]]
    assert found["input_ids"] == [[CLS, *ids("good"), SEP]]


@pytest.fixture
def many_languages(tmp_path: Any) -> str:
    """A tiny NLLB."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁word{i}" for i in range(12))]
    tokenizer = NllbTokenizer(vocab={word: i for i, word in enumerate(words)}, extra_special_tokens=["deu_Latn", "eng_Latn"])
    tokenizer.save_pretrained(tmp_path / "nllb")
    sizes = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads", "ffn_dim")}
    config = M2M100Config(vocab_size=24, d_model=16, max_position_embeddings=32, **sizes)
    M2M100ForConditionalGeneration(config).save_pretrained(tmp_path / "nllb")
    return str(tmp_path / "nllb")


def test_texts_are_marked_with_their_language(make: Any, many_languages: str) -> None:
    data = make(backbone=many_languages, source_language="deu_Latn", target_language="eng_Latn")
    found = data.encode({"source": ["good"], "target": [["fine"]]})
    read = data.tokenizer.convert_ids_to_tokens
    assert read(found["input_ids"][0]) == ["deu_Latn", "<unk>", "</s>"]
    assert read(found["labels"][0]) == ["eng_Latn", "<unk>", "</s>"]
    task = Seq2Seq(backbone=many_languages, generation=Generation(forced_bos_token="eng_Latn", max_new_tokens=3))
    batch = data.collate(found)
    assert torch.isfinite(task.losses(task.logits(batch), batch)).all()
    assert task.model.generate(**{k: batch[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=3).shape[0] == 1
    assert len(task.eval().predict_batch(batch)) == 1


def test_languages_that_are_missing_or_unknown(make: Any, many_languages: str) -> None:
    names = {"source_language": "deu_Latn", "target_language": "eng_Latn"}
    with pytest.raises(UserError, match=r"data\.target_language: the tokenizer of .* needs the language of its texts"):
        make(backbone=many_languages, source_language="deu_Latn").setup()
    with pytest.raises(UserError, match=r"data\.source_language 'deu_Latin' is not a language .* Did you mean 'deu_Latn'\?"):
        make(backbone=many_languages, **{**names, "source_language": "deu_Latin"}).setup()
    with pytest.raises(
        UserError, match=r"data\.source_language: .* knows no languages, but data\.source_language is 'deu_Latn'"
    ):
        make(**names).setup()


def test_what_changes_the_features_changes_the_cache(make: Any) -> None:
    settings = [make().encoding_settings()]
    for options in ({"prefix": "good "}, {"max_target_length": 9}, {"context": "passage"}, {"joined": True}):
        settings.append(make(**options).encoding_settings())
    assert all(settings.count(one) == 1 for one in settings)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": " "}, "the text in column 'source' is empty"),
        ({"source": None}, "the text in column 'source' is null"),
        ({"passage": ""}, "the text in column 'passage' is empty"),
        ({"target": []}, "the list of targets in column 'target' is empty"),
        ({"target": ["good", ""]}, "the text in column 'target' is empty"),
        ({"target": [None]}, "the text in column 'target' is null"),
    ],
)
def test_bad_rows_are_refused(make: Any, change: dict[str, Any], sentence: str) -> None:
    data = make(rows=[ROWS[0], {**ROWS[1], **change}], context="passage")
    with pytest.raises(UserError, match=f"train row 2: {sentence}; fix the row"):
        data.setup()


def test_a_number_is_no_target(make: Any) -> None:
    assert make().validate_row({"source": "good", "target": 3}) == "column 'target' holds 3, not a text"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"joined": True, "max_target_length": 65}, "data.max_target_length is 65, but .* writes at most 64 tokens"),
        ({"joined": True, "max_length": 65}, "data.max_length is 65, but .* takes at most 64 tokens"),
        ({"max_target_length": 1}, "must be at least 2, a token and the end, got 1"),
    ],
)
def test_lengths_that_the_model_does_not_take(make: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(**options)


def test_models_that_cannot_write(make: Any, tiny: Tiny, tiny_seq2seq: Tiny) -> None:
    with pytest.raises(UserError, match=r"is a bert, which has no decoder; set model\.decoder"):
        make(backbone=tiny("bert"))
    with pytest.raises(UserError, match=r"is a bart, which has its own decoder; remove model\.decoder"):
        make(backbone=tiny_seq2seq("bart"), decoder=tiny("bert"))
    with pytest.raises(UserError, match=r"model\.decoder .* is a distilbert, which has no cross-attention in transformers"):
        make(backbone=tiny("bert"), decoder=tiny("distilbert"))
    with pytest.raises(UserError, match=r"model\.decoder '\./nowhere' is not a folder"):
        make(backbone=tiny("bert"), decoder="./nowhere")


def test_the_lengths_by_default_are_the_model_s(make: Any) -> None:
    assert make(joined=True).max_target_length == 64
    assert make().max_target_length == 128


def test_references_are_written_as_generation_writes_them(make: Any) -> None:
    rows = [{"source": "good", "target": "[CLS] fine good", "passage": ""}]
    for keep, expected in ((False, ["fine good"]), (True, ["[CLS] fine good"])):
        data = make(rows, keep_special_tokens=keep)
        assert encoded(data)["reference"] == [expected]
        assert data.record_at("train", 0)["label"] == expected
    assert encoded(make())["reference"] == [["fine good"], ROWS[1]["target"]]

"""Places of tokens are checked against the text, and words are those of the text, whatever the tokenizer splits."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from ftlit.data import CorpusData, QuestionAnsweringData
from ftlit.data.batches.batching import MicroBatch
from ftlit.data.text.offsets import check_offsets, word_numbers
from ftlit.errors import UserError
from tests.support.data import write_splits
from tests.support.models import SIZE, tiny_tokenizer

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
TEXTS = ["The city of Eindhoven lies in the south.", "Where is Philips from? It came from Eindhoven.", "café \u4e2d\u6587 text"]
NAMES = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
ENDS = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)])


def finished(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend, **NAMES)


def byte_level(split_first: bool, prefix: bool, trim: bool) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes like RoBERTa's, optionally with words that are split before a space is put before each."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    steps = [pre_tokenizers.Whitespace(), bytes_] if split_first else [bytes_]
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Sequence(steps), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXTS * 5, trainer)
    backend.post_processor = processors.Sequence([*([processors.ByteLevel(trim_offsets=True)] if trim else []), ENDS])
    return finished(backend)


def one_word() -> PreTrainedTokenizerFast:
    """A tokenizer like Gemma's, which replaces spaces before it splits at them, so that a text is one word."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # no token holds two words
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=SPECIAL, show_progress=False)
    backend.train_from_iterator(TEXTS * 5, trainer)
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder, backend.post_processor = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()]), ENDS
    return finished(backend)


def backbone(folder: Path, tokenizer: PreTrainedTokenizerFast) -> str:
    config = AutoConfig.for_model("bert", **SIZE, vocab_size=len(tokenizer), max_position_embeddings=128)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("split_first", [True, False])
def test_only_wrong_places_are_refused(split_first: bool, prefix: bool, trim: bool) -> None:
    tokenizer = byte_level(split_first, prefix, trim)
    if split_first and prefix and trim:
        with pytest.raises(UserError, match=r"the tokenizer of 'x' reports wrong places of its tokens, by which QA finds them"):
            check_offsets(tokenizer, TEXTS, "x", "QA")
    else:
        check_offsets(tokenizer, TEXTS, "x", "QA")


def test_other_tokenizers_pass() -> None:
    for tokenizer in (tiny_tokenizer(), one_word()):
        check_offsets(tokenizer, [*TEXTS, "na\u00efve \ufb01ne \u00bd"], "x", "QA")


def test_question_answering_refuses_them_at_the_start(tmp_path: Path) -> None:
    rows = [{"question": "Where?", "context": TEXTS[1], "answers": "Eindhoven"}] * 4
    dataset = write_splits(tmp_path / "data", {"train": rows, "validation": rows})
    wrong = backbone(tmp_path / "wrong", byte_level(True, True, True))
    given: dict[str, Any] = {"dataset": dataset, "max_length": 64, "stride": 16}
    with pytest.raises(UserError, match=r"the token 'Where' stands at 'here'|the token '\w+' stands at '\w*'; mend its"):
        QuestionAnsweringData(backbone=wrong, **given).setup()
    right = QuestionAnsweringData(backbone=backbone(tmp_path / "right", byte_level(True, True, False)), **given)
    right.setup()
    feature = right.encoded["train"][0]
    first, last = feature["labels"]
    assert feature["context"][feature["starts"][first] : feature["ends"][last]] == "Eindhoven"


def words(tokenizer: PreTrainedTokenizerFast, text: str) -> list[list[str]]:
    """The tokens of each word."""
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    numbers = word_numbers(text, found["offset_mapping"], found.word_ids(0))
    tokens = tokenizer.convert_ids_to_tokens(found["input_ids"])
    return [[t for t, n in zip(tokens, numbers, strict=True) if n == number] for number in dict.fromkeys(numbers)]


def test_words_of_a_tokenizer_that_splits_none() -> None:
    tokenizer, text = one_word(), "The city came  from Eindhoven"
    plain = ["".join(word).replace("\u2581", "") for word in words(tokenizer, text)]
    assert plain == text.split()
    single = words(tokenizer, "\u4e2d\u6587\u4e2d a")
    assert len(single) >= 3, "characters without spaces between words stand alone"


def test_words_of_other_tokenizers_are_their_own() -> None:
    for tokenizer in (tiny_tokenizer(), byte_level(False, True, True), byte_level(True, False, False)):
        for text in TEXTS[:2]:
            found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            assert word_numbers(text, found["offset_mapping"], found.word_ids(0)) == found.word_ids(0)


def test_whole_words_mask_the_share_that_was_asked_for(tmp_path: Path) -> None:
    rows = [{"text": "The city of Eindhoven lies in the south and Philips came from the city"}] * 20
    dataset = write_splits(tmp_path / "data", {"train": rows, "validation": rows})
    given: dict[str, Any] = {"dataset": dataset, "objective": "masked", "whole_words": True, "max_length": 128}
    data = CorpusData(backbone=backbone(tmp_path / "gemma", one_word()), **given)
    data.setup()
    blocks = data.encoded["train"]
    chosen = total = 0
    for epoch in range(40):
        batch = data._collate((blocks[:4], MicroBatch([0, 1, 2, 3], 1.0, epoch)))
        chosen, total = chosen + int((batch["labels"] != -100).sum()), total + sum(blocks["maskable"][:4])
    assert chosen / total == pytest.approx(0.15, abs=0.03)
    assert data.shares("train")["of the tokens are masked"] == pytest.approx(0.15, abs=0.05)
    rows = [{"text": "Eindhoven"}] * 20
    dataset = write_splits(tmp_path / "words", {"train": rows, "validation": rows})
    alone = CorpusData(backbone=str(tmp_path / "gemma"), packing=False, **{**given, "dataset": dataset})
    with pytest.raises(
        UserError, match=r"model\.whole_words would mask 100% of the tokens, and model\.mask_probability is 0\.15"
    ):
        alone.setup()


def test_tokens_of_no_word_and_of_two_bytes_of_a_character() -> None:
    assert word_numbers("a b", [(0, 1), (1, 3)], [0, 0]) == [0, 1]
    assert word_numbers("ab", [(0, 0), (0, 2)], [None, 0]) == [-1, 0]
    assert word_numbers("\u00e9", [(0, 1), (0, 1)], [0, 0]) == [0, 0]

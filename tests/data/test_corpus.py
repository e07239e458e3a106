"""Blocks of raw text: nothing is lost, boundaries hold, and masks are drawn as they should be."""

import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlit.data import CorpusData
from ftlit.data.batches.batching import MicroBatch
from ftlit.data.batches.document_packing import Piece, pack_stream, pack_whole_documents, token_sizes
from ftlit.data.batches.sentence_pairs import SINGLE, UNUSED, segment_pairs, sentence_pairs
from ftlit.errors import UserError
from ftlit.tasks.causal_lm import CausalLM
from tests.support.data import REAL_DATA, sentence, write_splits
from tests.support.small import without_dropout
from tests.support.tagged import letters_tokenizer

Tiny = Callable[[str], str]
CLS, SEP, IGNORED = 2, 3, -100


def texts(count: int = 40, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [sentence(rng, ["good"]) for _ in range(count)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Text files with a document a line, and blank lines after every fifth."""
    folder = tmp_path_factory.mktemp("corpus")
    for seed, split in enumerate(("train", "validation")):
        lines = [line + ("\n\n" if i % 5 == 4 else "\n") for i, line in enumerate(texts(seed=seed))]
        (folder / f"{split}.txt").write_text("".join(lines))
    return str(folder)


def made(tiny: Tiny, dataset: str, kind: str = "llama", **options: Any) -> CorpusData:
    options = {"objective": "masked" if kind in ("bert", "roberta") else "causal", "max_length": 16, **options}
    data = CorpusData(dataset=dataset, backbone=tiny(kind), **options)
    data.setup()
    return data


def batch_of(data: CorpusData, indices: list[int], epoch: int | None = None) -> dict[str, Any]:
    return data._collate((data.encoded["train"][indices], MicroBatch(indices, 1.0, epoch)))


def words_of(data: CorpusData) -> list[list[int]]:
    return [data.tokenizer(row, add_special_tokens=False)["input_ids"] for row in data.rows["train"]["text"]]


# Packing


def test_causal_blocks_are_the_documents_one_after_the_other(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus)
    blocks = data.encoded["train"]
    assert [i for block in blocks["input_ids"] for i in block] == [i for ids in words_of(data) for i in [CLS, *ids, SEP]]
    assert {len(block) for block in blocks["input_ids"][:-1]} == {16}
    assert blocks["row"][:] == list(range(len(blocks)))


def test_units_are_the_tokens_that_have_a_label(tiny: Tiny, corpus: str) -> None:
    for isolated in (True, False):
        data = made(tiny, corpus, isolate_documents=isolated)
        batch = batch_of(data, list(range(len(data.encoded["train"]))))
        assert (
            (batch["labels"] != IGNORED).sum(1).tolist()
            == data.loss_weights("train").tolist()
            == batch["loss_weights"].tolist()
        )
        first = batch["input_ids"] == CLS
        assert (batch["labels"][first] == IGNORED).all().item() == isolated  # else they are predicted, but at the start
        assert (batch["labels"][:, 0] == IGNORED).all()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_documents_of_a_block_do_not_see_each_other(kind: str, tiny: Tiny, corpus: str, tmp_path: Path) -> None:
    data = made(tiny, corpus, kind, max_length=64)
    batch = batch_of(data, [0, 1])
    task = CausalLM(backbone=without_dropout(tiny(kind), tmp_path / "model"), pad_token_id=0)
    with torch.no_grad():
        packed = task(batch).logits
        for row, positions in enumerate(batch["position_ids"]):
            starts = [*(positions == 0).nonzero().flatten().tolist(), len(positions)]
            assert len(starts) > 4
            for start, end in pairwise(starts):
                alone = task.model(input_ids=batch["input_ids"][row : row + 1, start:end]).logits[0]
                torch.testing.assert_close(packed[row, start:end], alone, atol=1e-5, rtol=1e-5)


def test_without_boundaries_attention_crosses(tiny: Tiny, corpus: str) -> None:
    batch = batch_of(made(tiny, corpus, isolate_documents=False), [0, 1])
    assert "position_ids" not in batch
    assert batch["attention_mask"].shape == batch["input_ids"].shape


def test_without_packing_each_document_stands_alone(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus, packing=False)
    expected = []
    for ids in words_of(data):
        document = [CLS, *ids, SEP]
        expected += [document[i : i + 16] for i in range(0, len(document), 16) if len(document[i : i + 16]) > 1]
    assert data.encoded["train"]["input_ids"][:] == expected


@pytest.mark.parametrize("pack", [True, False])
def test_masked_blocks_hold_whole_documents_between_special_tokens(pack: bool, tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus, "bert", max_length=32, packing=pack)
    documents = []
    for block in data.encoded["train"]["input_ids"]:
        assert block[0] == CLS
        assert block[-1] == SEP
        assert len(block) <= 32
        inner: list[list[int]] = [[]]
        for i in block[1:-1]:
            inner.append([]) if i == SEP else inner[-1].append(i)
        assert pack or len(inner) == 1
        documents += inner
    assert documents == words_of(data)


def test_long_documents_are_cut_and_nothing_is_lost(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus, "bert", max_length=8, document_unit="blank_line")
    found = [i for block in data.encoded["train"]["input_ids"] for i in block if i not in (CLS, SEP)]
    assert found == [i for ids in words_of(data) for i in ids]


def pieces(*lengths: int) -> list[Piece]:
    return [Piece(list(range(n)), [1] * n, [0] * n, row) for row, n in enumerate(lengths)]


def test_whole_pieces_share_a_block_where_they_fit() -> None:
    def shape(*lengths: int) -> list[list[int]]:
        return [[len(p.ids) for p in block] for block in pack_whole_documents(pieces(*lengths), 10, 1)]

    assert shape(4, 5, 3) == [[4, 5], [3]]
    assert shape(4, 6, 3) == [[4], [6, 3]]
    assert shape(10, 1) == [[10], [1]]
    assert shape(3, 25) == [[3, 6], [10], [9]]
    assert [[len(p.ids) for p in block] for block in pack_stream(pieces(4, 9, 1), 5)] == [[4, 1], [5], [3, 1]]


def test_documents_by_blank_lines(tiny: Tiny, corpus: str) -> None:
    rows = made(tiny, corpus, document_unit="blank_line").rows["train"]["text"][:]
    assert rows == ["\n".join(texts()[i : i + 5]) for i in range(0, 40, 5)]
    assert made(tiny, corpus).rows["train"]["text"][:] == texts()


def test_blank_rows_of_other_formats_are_skipped_or_boundaries(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("word1 word2", " ", "word3", "word4", "")]
    folder = write_splits(tmp_path, {"train": rows, "validation": rows})
    assert made(tiny, folder).rows["train"]["text"][:] == ["word1 word2", "word3", "word4"]
    assert made(tiny, folder, document_unit="blank_line").rows["train"]["text"][:] == ["word1 word2", "word3\nword4"]


def test_bytes_are_those_of_the_predicted_texts(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus, max_length=64, packing=False)
    assert data.encoded["train"]["bytes"][:] == [len(text.encode()) for text in data.rows["train"]["text"]]
    assert token_sizes("naïve 日本 x", [(0, 2), (2, 5), (6, 8), (9, 10)]) == [2, 4, 7, 2]
    assert token_sizes("ab ", [(0, 2)]) == [3]
    assert token_sizes("", []) == []


def test_blocks_come_from_the_cache(tiny: Tiny, corpus: str) -> None:
    def file(**options: Any) -> str:
        return made(tiny, corpus, **options).encoded["train"].cache_files[0]["filename"]

    first = file()
    assert file() == file(order_seed=7) == first
    others = [{"max_length": 17}, {"isolate_documents": False}, {"packing": False}, {"document_unit": "blank_line"}]
    assert len({first, *(file(**options) for options in others)}) == 5


# Masking


def masked(data: CorpusData, indices: list[int], epoch: int | None) -> tuple[list[list[int]], list[list[int]]]:
    batch = batch_of(data, indices, epoch)
    return batch["input_ids"].tolist(), batch["labels"].tolist()


@pytest.fixture(scope="module")
def with_mask(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tiny]:
    """Tiny models whose tokenizers have a mask token."""
    return lambda tiny: lambda kind: _add_mask(tiny(kind), tmp_path_factory.mktemp("masked") / kind)


def _add_mask(folder: str, to: Path) -> str:
    from transformers import AutoTokenizer

    without_dropout(folder, to)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = "word75"
    tokenizer.save_pretrained(to)
    return str(to)


def test_masks_are_new_in_each_epoch_and_fixed_in_evaluation(tiny: Tiny, with_mask: Any, corpus: str) -> None:
    data = made(with_mask(tiny), corpus, "bert", mask_probability=0.5)
    assert masked(data, [0, 1, 2], 0) == masked(data, [0, 1, 2], 0) != masked(data, [0, 1, 2], 1)
    assert masked(data, [0, 1, 2], None) == masked(data, [0, 1, 2], None) != masked(data, [0, 1, 2], 0)
    other = made(with_mask(tiny), corpus, "bert", mask_probability=0.5, order_seed=1)
    assert masked(other, [0, 1, 2], 0) != masked(data, [0, 1, 2], 0)
    assert masked(other, [0, 1, 2], None) == masked(data, [0, 1, 2], None)


def test_a_block_is_masked_the_same_in_every_batch(tiny: Tiny, with_mask: Any, corpus: str) -> None:
    data = made(with_mask(tiny), corpus, "bert")
    for epoch in (None, 3):
        together, alone = batch_of(data, [4, 1, 2], epoch), batch_of(data, [1], epoch)
        size = alone["labels"].shape[1]
        assert torch.equal(together["labels"][1, :size], alone["labels"][0])
        assert torch.equal(together["input_ids"][1, :size], alone["input_ids"][0])


def test_special_tokens_are_never_masked(tiny: Tiny, with_mask: Any, corpus: str) -> None:
    data = made(with_mask(tiny), corpus, "bert", max_length=64, mask_probability=1.0)
    batch, original = batch_of(data, [0, 1], 0), data.encoded["train"][[0, 1]]["input_ids"]
    for ids, labels, given in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), original, strict=True):
        special = [i in data.special_ids for i in given]
        assert [label != IGNORED for label in labels[: len(given)]] == [not mark for mark in special]
        assert all(a == b for a, b, mark in zip(ids, given, special, strict=False) if mark)
        assert all(label == IGNORED for label in labels[len(given) :])


def test_units_are_the_expected_and_in_evaluation_the_actual_number(tiny: Tiny, with_mask: Any, corpus: str) -> None:
    data = made(with_mask(tiny), corpus, "bert", mask_probability=0.3)
    every = list(range(len(data.encoded["train"])))
    batch = batch_of(data, every)
    assert batch["loss_weights"].tolist() == (batch["labels"] != IGNORED).sum(1).tolist()
    drawn = [sum((batch_of(data, every, e)["labels"] != IGNORED).sum(1)) for e in range(60)]
    expected = data.loss_weights("train")
    assert expected.sum() == pytest.approx(sum(map(int, drawn)) / 60, rel=0.03)
    assert batch_of(data, every, 0)["loss_weights"].tolist() == pytest.approx(expected.tolist())


@pytest.fixture(scope="module")
def letters(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny model that reads letters, with a mask token; each letter of a word is a token."""
    folder = tmp_path_factory.mktemp("letters") / "model"
    without_dropout(tiny("bert"), folder)
    tokenizer = letters_tokenizer()
    tokenizer.mask_token = "p"
    tokenizer.save_pretrained(folder)
    return lambda kind: str(folder)


def test_whole_words_are_masked_with_all_their_pieces(letters: Tiny, tmp_path: Path) -> None:
    rows = [{"text": "abc a bcde"}, {"text": "ab"}] * 10
    folder = write_splits(tmp_path, {"train": rows, "validation": rows})
    data = made(letters, folder, "bert", whole_words=True, max_length=32, mask_probability=0.3)
    assert data.encoded["train"][0]["words"][:14] == [-1, 0, 0, 0, 1, 2, 2, 2, 2, -1, 0, 0, -1, 0]
    block, partly = [SEP, *data.encoded["train"][0]["input_ids"]], 0
    for epoch in range(30):
        chosen = [False, *(batch_of(data, [0], epoch)["labels"][0] != IGNORED).tolist()]
        pieces = data.tokenizer.convert_ids_to_tokens(block)
        assert all(chosen[i] == chosen[i - 1] for i, piece in enumerate(pieces) if piece.startswith("##"))
        partly += 0 < sum(chosen) < len(chosen) - 4
    assert partly > 20, "all or nothing would keep words whole too"


def test_units_of_whole_words_are_those_expected(letters: Tiny, tmp_path: Path) -> None:
    rows = [{"text": "abcdefgh a"}, {"text": "ab cdefgh"}, {"text": "abcdefghijkl"}] * 4
    folder = write_splits(tmp_path, {"train": rows, "validation": rows})
    data = made(letters, folder, "bert", whole_words=True, packing=False)
    expected = [0.15 * 9 + 0.85**2 * 9 / 2, 0.15 * 8 + 0.85**2 * 8 / 2, 12.0]
    assert data.loss_weights("train")[:3].tolist() == pytest.approx(expected)
    assert batch_of(data, [0, 1, 2], 0)["loss_weights"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("next_sentence", [False, True])
def test_blocks_without_a_token_to_mask_are_left_out_and_counted(
    next_sentence: bool, tiny: Tiny, with_mask: Any, tmp_path: Path
) -> None:
    unknown = {"text": "\U0001f600 \U0001f601"}
    rows = [{"text": "word1 word2"}, unknown, {"text": "word3 word4"}, unknown, unknown]
    folder = write_splits(tmp_path / "some", {"train": rows, "validation": rows})
    data = made(with_mask(tiny), folder, "bert", packing=False, whole_words=True, next_sentence=next_sentence)
    left_out = "blocks without a token to predict, left out"
    if not next_sentence:
        assert [block[1:-1] for block in data.encoded["train"]["input_ids"]] == words_of(data)[:3:2]
        assert data.counts("train")[left_out] == 3
        assert data.names("train", [1]) == ["block 1 (from train:2)"]
    every = list(range(len(data.encoded["train"])))
    assert len(every) + data.counts("train")[left_out] == 5
    for epoch in (None, 0, 1):
        batch = batch_of(data, every, epoch)
        assert (batch["loss_weights"] > 0).all()
        assert ((batch["labels"] != IGNORED).sum(1) > 0).all()
    nothing = write_splits(tmp_path / "none", {"train": [unknown] * 4, "validation": rows})
    said = r"all labels masked: a split has no block with a token to predict \(4 blocks without a token to predict, left out"
    with pytest.raises(UserError, match=said):
        made(with_mask(tiny), nothing, "bert", packing=False, next_sentence=next_sentence)


def test_causal_blocks_of_one_token_are_counted(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": " ".join(["word1"] * n)} for n in (15, 3, 31)]  # with the tokens of beginning and end 17, 5 and 33
    data = made(tiny, write_splits(tmp_path, {"train": rows, "validation": rows}), packing=False)
    assert [len(ids) for ids in data.encoded["train"]["input_ids"]] == [16, 5, 16, 16]
    assert data.counts("train")["blocks without a token to predict, left out"] == 2
    again = made(tiny, str(tmp_path), packing=False)
    assert again.counts("train") == data.counts("train"), "blocks from the cache tell it too"


def test_documents_without_a_token_are_counted(letters: Tiny, tmp_path: Path) -> None:
    rows = [{"text": "ab cd"}, {"text": "\u200b"}, {"text": "a"}]
    data = made(letters, write_splits(tmp_path, {"train": rows, "validation": rows}), "bert")
    assert data.counts("train")["documents without a token, left out"] == 1
    assert data.encoded["train"]["input_ids"] == [[CLS, 4, 21, 6, 23, SEP, 4, SEP]]


@pytest.mark.parametrize("length", [30, 5])
def test_a_text_to_go_on_with_keeps_its_end(length: int, tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus)
    text = [f"word{i}" for i in range(length)]
    features = data.encode_inputs({"text": [" ".join(text)]})
    assert features["truncated"] == [length > 16]
    assert data.tokenizer.convert_ids_to_tokens(features["input_ids"][0]) == ["[CLS]", *text][-16:]


def test_no_mask_token_is_said(tiny: Tiny, corpus: str) -> None:
    with pytest.raises(UserError, match="has no mask token"):
        batch_of(made(tiny, corpus, "bert"), [0])


# Next sentence prediction


def test_pairs_follow_each_other_or_come_from_two_documents(tiny: Tiny, with_mask: Any, corpus: str) -> None:
    data = made(with_mask(tiny), corpus, "bert", next_sentence=True, document_unit="blank_line", max_length=24)
    blocks, documents = data.encoded["train"], words_of(data)
    joined = [" ".join(map(str, ids)) for ids in documents]
    for block in blocks:
        ids, kinds = block["input_ids"], block["token_type_ids"]
        cut = kinds.index(1)
        assert ids[0] == CLS
        assert ids[cut - 1] == ids[-1] == SEP
        assert len(ids) <= 24
        first, second = ids[1 : cut - 1], ids[cut:-1]
        follows = any(" ".join(map(str, first + second)) in text for text in joined)
        assert follows == (block["next_sentence"] == 0)
    apart = blocks["next_sentence"][:]
    assert sum(apart) == len(apart) // 2
    assert batch_of(data, [0, 1], 0)["next_sentence"].tolist() == apart[:2]


def test_segments_are_cut_between_words() -> None:
    piece = Piece(list(range(9)), [1] * 9, [0, 0, 0, 1, 1, 1, 1, 2, 2], 0)
    assert [(a.ids, b.ids) for a, b in segment_pairs(piece, 20)] == [([0, 1, 2], [3, 4, 5, 6, 7, 8])]
    assert list(segment_pairs(Piece([1, 2], [1, 1], [0, 0], 0), 20)) == []
    late = Piece(list(range(8)), [1] * 8, [0] * 6 + [1, 1], 0)
    assert [(len(a.ids), len(b.ids)) for a, b in segment_pairs(late, 20)] == [(6, 2)]
    assert [(a.ids, b.ids) for a, b in segment_pairs(late, 4)] == [([4, 5], [6, 7])], "the first stretch is inside a word"


@pytest.mark.parametrize("seed", range(5))
def test_tokens_that_stand_in_no_pair_are_counted(seed: int) -> None:
    rng = random.Random(seed)
    documents, number = [], 0
    for row in range(12):
        words = sorted(rng.choices(range(8), k=rng.randint(1, 30)))
        documents.append(Piece(list(range(number, number + len(words))), [1] * len(words), words, row))
        number += len(words)
    lost: Counter[str] = Counter()
    found = list(sentence_pairs(documents, 10, seed, lost))
    row_of = {i: piece.row for piece in documents for i in piece.ids}
    assert sum(apart for *_, apart in found) == len(found) // 2
    for first, second, apart in found:
        assert len(first.ids) + len(second.ids) <= 10
        assert (row_of[first.ids[0]] != row_of[second.ids[0]]) == apart
    seen = {i for first, second, _ in found for i in [*first.ids, *second.ids]}
    assert lost[UNUSED] > 0
    assert lost[SINGLE] + lost[UNUSED] == number - len(seen)


def test_pairs_say_what_they_leave_out(tiny: Tiny, with_mask: Any, tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("word1", "word2 word3", "word4 word5 word6 word7", "word8")]
    data = made(with_mask(tiny), write_splits(tmp_path, {"train": rows, "validation": rows}), "bert", next_sentence=True)
    held = {i for ids in data.encoded["train"]["input_ids"] for i in ids} - {CLS, SEP}
    assert data.counts("train")[SINGLE] == 2
    assert data.counts("train")[UNUSED] == 8 - 2 - len(held) > 0


# What is said


def test_names_and_counts(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus)
    assert data.names("train", [0]) == ["block 0 (from train:0)"]
    tokens = sum(len(ids) + 2 for ids in words_of(data))
    assert data.counts("train") == {"blocks": math.ceil(tokens / 16), "tokens in its blocks": tokens}
    assert data.record_at("train", 1)["id"] == "train:block1"


def test_needs_a_language_model(tiny: Tiny, corpus: str) -> None:
    with pytest.raises(UserError, match="CorpusData has no labels and needs a language model"):
        CorpusData(dataset=corpus, backbone=tiny("bert"))


@pytest.mark.real_data
def test_shakespeare(tiny: Tiny) -> None:
    data = made(tiny, str(REAL_DATA / "tinyshakespeare"), document_unit="blank_line", max_length=64)
    assert len(data.rows["validation"]) > 500
    assert data.loss_weights("validation").sum() > 0.8 * data.lengths("validation").sum()

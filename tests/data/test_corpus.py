"""Blocks of raw text: nothing is lost, boundaries hold, and masks are drawn as they should be."""

import math
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlit.data import CorpusData
from ftlit.data.batching import MicroBatch
from ftlit.data.packing import Piece, filled, token_sizes, whole
from ftlit.data.pairs import halves
from ftlit.errors import UserError
from ftlit.tasks.causal_lm import CausalLM
from tests.conftest import REAL_DATA, sentence, write_splits
from tests.small import without_dropout

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
    for boundaries in (True, False):
        data = made(tiny, corpus, boundaries=boundaries)
        batch = batch_of(data, list(range(len(data.encoded["train"]))))
        assert (batch["labels"] != IGNORED).sum(1).tolist() == data.units("train").tolist() == batch["units"].tolist()
        first = batch["input_ids"] == CLS
        assert (batch["labels"][first] == IGNORED).all().item() == boundaries  # else they are predicted, but at the start
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
    batch = batch_of(made(tiny, corpus, boundaries=False), [0, 1])
    assert "position_ids" not in batch
    assert batch["attention_mask"].shape == batch["input_ids"].shape


def test_without_packing_each_document_stands_alone(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus, pack=False)
    expected = []
    for ids in words_of(data):
        document = [CLS, *ids, SEP]
        expected += [document[i : i + 16] for i in range(0, len(document), 16) if len(document[i : i + 16]) > 1]
    assert data.encoded["train"]["input_ids"][:] == expected


@pytest.mark.parametrize("pack", [True, False])
def test_masked_blocks_hold_whole_documents_between_special_tokens(pack: bool, tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus, "bert", max_length=32, pack=pack)
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
    data = made(tiny, corpus, "bert", max_length=8, documents="blank_line")
    found = [i for block in data.encoded["train"]["input_ids"] for i in block if i not in (CLS, SEP)]
    assert found == [i for ids in words_of(data) for i in ids]


def pieces(*lengths: int) -> list[Piece]:
    return [Piece(list(range(n)), [1] * n, [0] * n, row) for row, n in enumerate(lengths)]


def test_whole_pieces_share_a_block_where_they_fit() -> None:
    def shape(*lengths: int) -> list[list[int]]:
        return [[len(p.ids) for p in block] for block in whole(pieces(*lengths), 10, 1)]

    assert shape(4, 5, 3) == [[4, 5], [3]]
    assert shape(4, 6, 3) == [[4], [6, 3]]
    assert shape(10, 1) == [[10], [1]]
    assert shape(3, 25) == [[3, 6], [10], [9]]
    assert [[len(p.ids) for p in block] for block in filled(pieces(4, 9, 1), 5)] == [[4, 1], [5], [3, 1]]


def test_documents_by_blank_lines(tiny: Tiny, corpus: str) -> None:
    rows = made(tiny, corpus, documents="blank_line").rows["train"]["text"][:]
    assert rows == ["\n".join(texts()[i : i + 5]) for i in range(0, 40, 5)]
    assert made(tiny, corpus).rows["train"]["text"][:] == texts()


def test_blank_rows_of_other_formats_are_skipped_or_boundaries(tiny: Tiny, tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("word1 word2", " ", "word3", "word4", "")]
    folder = write_splits(tmp_path, {"train": rows, "validation": rows})
    assert made(tiny, folder).rows["train"]["text"][:] == ["word1 word2", "word3", "word4"]
    assert made(tiny, folder, documents="blank_line").rows["train"]["text"][:] == ["word1 word2", "word3\nword4"]


def test_bytes_are_those_of_the_predicted_texts(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus, max_length=64, pack=False)
    assert data.encoded["train"]["bytes"][:] == [len(text.encode()) for text in data.rows["train"]["text"]]
    assert token_sizes("naïve 日本 x", [(0, 2), (2, 5), (6, 8), (9, 10)]) == [2, 4, 7, 2]
    assert token_sizes("ab ", [(0, 2)]) == [3]
    assert token_sizes("", []) == []


def test_blocks_come_from_the_cache(tiny: Tiny, corpus: str) -> None:
    def file(**options: Any) -> str:
        return made(tiny, corpus, **options).encoded["train"].cache_files[0]["filename"]

    first = file()
    assert file() == file(order_seed=7) == first
    assert len({first, file(max_length=17), file(boundaries=False), file(pack=False), file(documents="blank_line")}) == 5


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
    assert batch["units"].tolist() == (batch["labels"] != IGNORED).sum(1).tolist()
    drawn = [sum((batch_of(data, every, e)["labels"] != IGNORED).sum(1)) for e in range(60)]
    expected = data.units("train")
    assert expected.sum() == pytest.approx(sum(map(int, drawn)) / 60, rel=0.03)
    assert batch_of(data, every, 0)["units"].tolist() == pytest.approx(expected.tolist())


def test_whole_words_are_told_from_their_pieces(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus, "bert", whole_words=True, max_length=32)
    block = data.encoded["train"][0]
    assert [word == -1 for word in block["words"]] == [i in (CLS, SEP) for i in block["input_ids"]]


def test_no_mask_token_is_said(tiny: Tiny, corpus: str) -> None:
    with pytest.raises(UserError, match="has no mask token"):
        batch_of(made(tiny, corpus, "bert"), [0])


# Next sentence prediction


def test_pairs_follow_each_other_or_come_from_two_documents(tiny: Tiny, with_mask: Any, corpus: str) -> None:
    data = made(with_mask(tiny), corpus, "bert", next_sentence=True, documents="blank_line", max_length=24)
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
    assert [(a.ids, b.ids) for a, b in halves(piece, 20)] == [([0, 1, 2], [3, 4, 5, 6, 7, 8])]
    assert list(halves(Piece([1, 2], [1, 1], [0, 0], 0), 20)) == []


# What is said


def test_names_and_counts(tiny: Tiny, corpus: str) -> None:
    data = made(tiny, corpus)
    assert data.names("train", [0]) == ["block 0 (from train:0)"]
    tokens = sum(len(ids) + 2 for ids in words_of(data))
    assert data.counts("train") == {"blocks": math.ceil(tokens / 16), "tokens in its blocks": tokens}
    assert data.shown_at("train", 1)["id"] == "train:block1"


def test_needs_a_language_model(tiny: Tiny, corpus: str) -> None:
    with pytest.raises(UserError, match="CorpusData has no labels: it goes with a language model"):
        CorpusData(dataset=corpus, backbone=tiny("bert"))


@pytest.mark.real_data
def test_shakespeare(tiny: Tiny) -> None:
    data = made(tiny, str(REAL_DATA / "tinyshakespeare"), documents="blank_line", max_length=64)
    assert len(data.rows["validation"]) > 500
    assert data.units("validation").sum() > 0.8 * data.lengths("validation").sum()

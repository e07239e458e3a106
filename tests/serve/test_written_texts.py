"""The text of tokens as they come: whole characters, no part of a stop string, and in the end the text of all tokens."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ftlit.serve.completions.reply import Reply
from ftlit.serve.completions.sampling import Draw, RowSampler
from ftlit.serve.completions.text import Decoder
from tests.support.chats import byte_tokenizer

TEXTS = ["Café 好的 😀!", "  a\n\nb  ", "é", "👩‍👩‍👧 x", "plain words only"]
END = 2


def fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Words, and single bytes for what is none, as SentencePiece has them."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "▁a", "x"]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [("▁", "a")], byte_fallback=True))
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def decoder(tokenizer: Any) -> Decoder:
    model = SimpleNamespace(
        config=SimpleNamespace(is_encoder_decoder=False), generation_config=SimpleNamespace(eos_token_id=[END], bos_token_id=1)
    )
    model.generation_config.forced_bos_token_id = None
    return Decoder(SimpleNamespace(tokenizer=tokenizer, keep_special_tokens=False, model=model))


def written(tokenizer: Any, ids: list[int], *stops: str, longest: int = 1000) -> tuple[list[str], Reply]:
    """The pieces of a reply, and the reply."""
    pieces: list[str] = []
    reply = Reply(stops, pieces.append, lambda: False)
    reply.begin(None, 0, longest, None, decoder(tokenizer))
    any(reply.take(token) for token in ids)
    return pieces, reply


@pytest.mark.parametrize("tokenizer", [byte_tokenizer(), fallback_tokenizer()], ids=["bytes", "fallback"])
@pytest.mark.parametrize("text", TEXTS)
def test_characters_come_whole(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > len(text) or text.isascii()
    pieces, reply = written(tokenizer, [*ids, END, 9])
    assert "".join(pieces) == reply.text == tokenizer.decode(ids).strip() == text.strip()
    assert not any("\ufffd" in piece for piece in pieces)
    assert (reply.reason, reply.tokens) == ("stop", len(ids) + 1)


def test_bytes_that_are_no_character_are_shown_in_the_end_as_predict_shows_them() -> None:
    for tokenizer in (byte_tokenizer(), fallback_tokenizer()):
        *_, first, second = tokenizer("é", add_special_tokens=False)["input_ids"]
        word = tokenizer("a", add_special_tokens=False)["input_ids"]
        for wrong in ([first], [*word, first, *word], [first, second, first, *word], [*word, second, first, second]):
            pieces, reply = written(tokenizer, [*wrong, END])
            assert "".join(pieces) == reply.text == tokenizer.decode(wrong).strip()
            assert "\ufffd" in reply.text


def test_spaces_that_a_tokenizer_takes_out_later_were_never_shown() -> None:
    words = ["[PAD]", "[UNK]", "[SEP]", "do", "n't", "it", "'", "s", ".", "it's", "##ing"]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece(cleanup=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", sep_token="[SEP]")
    ids = [words.index(word) for word in ("do", "n't", "do", "##ing", "it", "'", "s", "it", ".", "do", "do")]
    pieces, reply = written(tokenizer, [*ids, END])
    assert "".join(pieces) == reply.text == tokenizer.decode(ids)
    assert reply.text.startswith("don't doing")
    assert len(pieces) > 2


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one STOP two", ["STOP"], "one"),
        ("one ST two", ["STOP"], "one ST two"),
        ("one STSTOP two", ["STOP"], "one ST"),
        ("a\nb\nc", ["\nc", "\nb\n"], "a"),
        ("aab", ["ab"], "a"),
        ("STOP", ["STOP"], ""),
        ("好好好", ["好好"], ""),
        ("x ends with S", ["STOP"], "x ends with S"),
        ("a<|im_start|>b", ["<|im_start|>"], "a"),
    ],
)
def test_stop_strings_are_never_shown(text: str, stops: list[str], expected: str) -> None:
    tokenizer = byte_tokenizer()
    pieces, reply = written(tokenizer, [*tokenizer(text, add_special_tokens=False)["input_ids"], END], *stops)
    assert "".join(pieces) == reply.text == expected
    assert reply.reason == "stop"
    silent = Reply(tuple(stops), None, lambda: False)
    silent.begin(None, 0, 1000, None, decoder(tokenizer))
    any(silent.take(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"] + [END])
    assert silent.text == expected


def test_a_text_ends_at_its_length() -> None:
    ids = byte_tokenizer()("abcdef", add_special_tokens=False)["input_ids"]
    pieces, reply = written(byte_tokenizer(), ids, longest=3)
    assert ("".join(pieces), reply.text, reply.reason, reply.tokens) == ("abc", "abc", "length", 3)


# Draws


def drawn(draws: list[Draw | None], logits: torch.Tensor, steps: int) -> list[list[int]]:
    """The tokens that a greedy search takes after the draws, for each row."""
    sampler, ids = RowSampler(draws), torch.zeros(len(draws), 1, dtype=torch.long)
    return torch.stack([sampler(ids, logits.clone()).argmax(-1) for _ in range(steps)], 1).tolist()


def test_a_row_is_drawn_by_its_own_seed() -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    make = lambda seed: Draw(1.0, 1.0, 0, seed, "cpu")  # noqa: E731
    together = drawn([make(1), None, make(2), make(1)], logits[[0, 1, 2, 0]], 20)
    assert together[0] == together[3] == drawn([make(1)], logits[:1], 20)[0]
    assert together[2] == drawn([make(2)], logits[2:3], 20)[0]
    assert together[1] == [int(logits[1].argmax())] * 20
    assert drawn([make(None)], logits[:1], 20) != drawn([make(None)], logits[:1], 20)
    assert torch.equal(state, torch.get_rng_state())


def test_draws_follow_their_settings() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    count = lambda draw: torch.bincount(torch.tensor(drawn([draw], logits, 2000)[0]), minlength=4) / 2000  # noqa: E731
    assert count(Draw(1, 1, 0, 0, "cpu")).tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.04)
    assert count(Draw(0.5, 1.0, 0, 0, "cpu"))[0] == pytest.approx(0.25 / (0.25 + 0.09 + 0.0225 + 0.0025), abs=0.04)
    assert count(Draw(1.0, 0.7, 0, 0, "cpu")).tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=0.04)
    assert count(Draw(1.0, 1.0, 1, 0, "cpu"))[0] == 1

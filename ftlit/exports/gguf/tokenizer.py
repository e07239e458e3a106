"""Tokenizers in the words of GGUF: byte-level BPE with the name of its splits, or BPE in the manner of sentencepiece."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Regex, pre_tokenizers

from ftlit.errors import UserError

# A text on which the splits of all tokenizers below differ.
PROBE = "Hello World,camelCase i've WE'LL 1 22 4321  3.14\n\n\t x\u0301 Stra\u00dfe\u3001\u6771\u4eac!?\n/ (a) \U0001f642  end "
SPACE = "\u2581"  # stands for a space in sentencepiece
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL
QWEN2 = LLAMA3.replace("{1,3}", "")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
BEFORE = r"[^\r\n\p{L}\p{N}]?"
TEKKEN = rf"{BEFORE}{UPPER}*{LOWER}+|{BEFORE}{UPPER}+{LOWER}*" + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL


def _split_at(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def splits() -> dict[tuple[str, bool], pre_tokenizers.PreTokenizer]:
    """How a text is split before BPE, by the name in llama.cpp and whether a known word is taken without merges."""
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return {
        ("gpt-2", False): whole,
        ("smollm", False): pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole]),
        ("qwen2", False): _split_at(QWEN2),
        ("dbrx", False): _split_at(LLAMA3),
        ("llama-bpe", True): _split_at(LLAMA3),
        ("tekken", True): _split_at(TEKKEN),
    }


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer of a file.

    Args:
        model: Its kind in llama.cpp: `gpt2` for byte-level BPE, `llama` for that of sentencepiece.
        pre: Name of the splits before BPE.
        tokens: The tokens by their ids.
        merges: Pairs of tokens, separated by a space, in the order in which they are merged.
        scores: For `llama`, the order of merges by the tokens that they make, the first highest.
    """

    model: str
    pre: str
    tokens: list[str]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def vocabulary(tokenizer: Any, size: int) -> Vocabulary:
    """Return the vocabulary of a tokenizer.

    Args:
        tokenizer: The tokenizer.
        size: Number of embeddings of the model.

    Raises:
        UserError: llama.cpp has no such tokenizer.
    """
    about = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else {"model": {"type": "slow"}}
    bpe, names = about["model"], {number: token for token, number in tokenizer.get_vocab().items()}
    tokens = [names.get(number, f"[PAD{number}]") for number in range(size)]
    if bpe["type"] != "BPE":
        raise _unfit(f"has the model {bpe['type']}")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in bpe["merges"]]
    if not merges:
        raise _unfit("has no merges")
    if bpe["byte_fallback"]:
        return Vocabulary("llama", "default", tokens, scores=_scores(tokens, merges))
    if about["normalizer"] not in (None, {"type": "NFC"}):
        raise _unfit(f"changes texts with {about['normalizer']['type']}")
    return Vocabulary("gpt2", _pre(tokenizer, bool(bpe.get("ignore_merges"))), tokens, merges)


def _unfit(fact: str) -> UserError:
    return UserError(
        f"--format gguf takes byte-level BPE tokenizers that split as those of GPT-2, SmolLM2, Qwen2, Llama 3 or Mistral, and "
        f"BPE of sentencepiece, but that of model.backbone {fact}; leave --format out"
    )


def _pre(tokenizer: Any, whole_words: bool) -> str:
    """The name of a tokenizer's splits, found by splitting a text."""
    own = tokenizer.backend_tokenizer.pre_tokenizer
    pieces = own.pre_tokenize_str(PROBE) if own else None
    for (name, ignores), split in splits().items():
        if ignores == whole_words and split.pre_tokenize_str(PROBE) == pieces:
            return name
    raise _unfit("splits otherwise")


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    order: dict[str, float] = {}
    for place, pair in enumerate(merges):
        order.setdefault(pair.replace(" ", ""), -float(place))
    return [order.get(token, 0.0) for token in tokens]


def add_tokenizer(writer: Any, tokenizer: Any, size: int, template: str | None) -> None:
    """Add a tokenizer to the writer of a file.

    Args:
        writer: The writer of gguf.
        tokenizer: The tokenizer.
        size: Number of embeddings of the model.
        template: Template of chats.

    Raises:
        UserError: llama.cpp has no such tokenizer.
    """
    found, (bos, eos) = vocabulary(tokenizer, size), added_ends(tokenizer)
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(_types(tokenizer, found))
    if found.model == "llama":
        writer.add_token_scores(found.scores)
        writer.add_add_space_prefix(tokenizer.tokenize("a")[0].startswith(SPACE))
    else:
        writer.add_token_merges(found.merges)
    for name in ("bos", "eos", "unk", "pad"):
        if (number := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(bos)
    writer.add_add_eos_token(eos)
    if template:
        writer.add_chat_template(template)


def added_ends(tokenizer: Any) -> tuple[bool, bool]:
    """Whether a tokenizer adds the token of a text's beginning, and that of its end.

    Raises:
        UserError: It adds others.
    """
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    bos, eos = ([number] if number is not None else [] for number in (tokenizer.bos_token_id, tokenizer.eos_token_id))
    for first, last in ((0, 0), (1, 0), (0, 1), (1, 1)):
        if whole == bos * first + plain + eos * last:
            return bool(first), bool(last)
    raise _unfit("adds other tokens than those of a text's beginning and end")


def _types(tokenizer: Any, found: Vocabulary) -> list[int]:
    from gguf import TokenType

    added, known = tokenizer.added_tokens_decoder, tokenizer.get_vocab()
    types: list[int] = []
    for number, token in enumerate(found.tokens):
        if found.model == "llama" and number == tokenizer.unk_token_id:
            types.append(TokenType.UNKNOWN)
        elif number in added:
            types.append(TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED)
        elif token not in known:
            types.append(TokenType.UNUSED)
        else:
            types.append(TokenType.BYTE if found.model == "llama" and BYTE.fullmatch(token) else TokenType.NORMAL)
    return types

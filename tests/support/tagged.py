"""Tagged sentences, and a tokenizer with one subword a letter."""

import random
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.support.models import SPECIAL

LETTERS = "abcdefghijklmnop"


def letters_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece where a word has as many subwords as letters, and a zero-width space none."""
    words = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *".,"]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Replace("\u200b", "")
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)


def letters_model(folder: str, to: Path) -> str:
    """A copy of a tiny model that reads letters."""
    shutil.copytree(folder, to)
    letters_tokenizer().save_pretrained(to)
    return str(to)


def tagged_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Sentences of 1 to 12 words in IOB2: a word with `a` begins a PER, with `b` a LOC, and `c` continues either."""
    rng = random.Random(seed)
    return [{"tokens": (words := _words(rng)), "tags": _tags(words)} for _ in range(count)]


def _words(rng: random.Random) -> list[str]:
    starts = rng.choices("abcd", (2, 2, 3, 5), k=rng.randint(1, 12))
    return [start + "".join(rng.choices("efgh", k=rng.randint(0, 3))) for start in starts]


def _tags(words: list[str]) -> list[str]:
    tags, kind = [], ""
    for word in words:
        begins = {"a": "PER", "b": "LOC"}.get(word[0], "")
        kind = begins or (kind if word[0] == "c" else "")
        tags.append(f"{'B' if begins else 'I'}-{kind}" if kind else "O")
    return tags


def tagged_splits() -> dict[str, list[dict[str, Any]]]:
    """Tagged rows for each split: 83 of train, 31 of validation, 37 of test."""
    return {
        split: tagged_rows(count, i) for i, (split, count) in enumerate({"train": 83, "validation": 31, "test": 37}.items())
    }


def write_conll(file: Path, rows: list[dict[str, Any]]) -> None:
    """A CoNLL file of words and tags."""
    sentences = ["\n".join(map(" ".join, zip(row["tokens"], row["tags"], strict=True))) for row in rows]
    file.write_text("\n\n".join(sentences) + "\n")

"""Tiny decoders with trained tokenizers of the kinds that llama.cpp knows."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from ftlit.exports.gguf.tokenizer import SPACE, splits
from tests.support.chats import echoes
from tests.support.data import sentiment_rows, sentiment_splits, write_splits
from tests.support.runs import fitted

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
DECODERS: dict[str, dict[str, Any]] = {
    "llama": {**SIZE, "num_key_value_heads": 2},
    "mistral": {**SIZE, "num_key_value_heads": 2, "sliding_window": 128},
    "qwen2": {**SIZE, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": {**SIZE, "num_key_value_heads": 2, "head_dim": 128},  # the only width that transformers reads
}
TEXTS = [row["text"] for row in sentiment_rows(40, 3)] + ["Say 12 and 345, we'll see: Say 12 naïve café 東京!"] * 3


@cache
def byte_level(pre: str) -> str:
    """Byte-level BPE with the splits of a name, as the text of its file."""
    whole_words, split = next((ignores, found) for (name, ignores), found in splits().items() if name == pre)
    backend = Tokenizer(models.BPE(ignore_merges=whole_words))
    backend.pre_tokenizer = split
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False)
    )
    return backend.to_str()


@cache
def sentencepiece(add_bos: bool = True) -> str:
    """BPE of characters with bytes for those that it does not know, as the text of its file."""
    spaces = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    learner.train_from_iterator(TEXTS[:40], trainers.BpeTrainer(vocab_size=60, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    backend = Tokenizer(
        models.BPE(vocabulary, list(map(tuple, learned["merges"])), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.pre_tokenizer = spaces
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if add_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
        )
    backend.add_special_tokens(SPECIAL)
    return backend.to_str()


def language_model(
    folder: Path, architecture: str = "llama", tokenizer: str | None = None, spare: int = 0, **config: Any
) -> str:
    """Folder of a tiny decoder with seeded weights.

    Args:
        folder: The folder.
        architecture: One of `DECODERS`.
        tokenizer: Its tokenizer as text; by default that of SmolLM2.
        spare: Number of embeddings without a token.
        **config: Other settings of its configuration.
    """
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer or byte_level("smollm")),
        bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<|im_end|>",
    )  # fmt: skip
    ids = {"vocab_size": len(words) + spare, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 4}
    settings = transformers.AutoConfig.for_model(
        architecture, **{**ids, "max_position_embeddings": 128, **DECODERS.get(architecture, {}), **config}
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(settings).save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def language_run(root: Path, backbone: str, chats: bool = False, **options: Any) -> Path:
    """Train a decoder for four steps on texts, or on chats."""
    if chats:
        rows = {split: echoes(count, i) for i, (split, count) in enumerate({"train": 24, "validation": 9}.items())}
        data = {"dataset": write_splits(root / "data", rows), "prompt": "question", "response": "answer", "template": "chatml"}
        given = {"data": "ChatData", **{f"data__{key}": value for key, value in data.items()}}
    else:
        given = {"data": "CorpusData", "data__dataset": write_splits(root / "data", sentiment_splits())}
    few = {"trainer__max_steps": 4, "data__limit_train": 24, "data__max_length": 64, "model__samples": 0}
    return fitted(root / "run", "CausalLM", model__backbone=backbone, **{**few, **given, **options})

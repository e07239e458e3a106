"""A tokenizer of single bytes with the special tokens of chats, tiny causal models, and short conversations."""

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SIZES: dict[str, dict[str, Any]] = {
    "llama": {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2},
        **{"intermediate_size": 48, "max_position_embeddings": 256},
    },
    "gpt2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 256,
        **{f"{p}_pdrop": 0.0 for p in ("attn", "embd", "resid")},
    },
}


def byte_tokenizer(special: list[str] = SPECIAL, template: str | None = None) -> PreTrainedTokenizerFast:
    """Each byte is a token, and each special token one."""
    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), start=len(special))}
    backend = Tokenizer(models.BPE({**{token: i for i, token in enumerate(special)}, **vocabulary}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", extra_special_tokens=special[3:]
    )
    tokenizer.chat_template = template
    return tokenizer


def chat_model(folder: Path, architecture: str = "llama", config: dict[str, Any] | None = None, **tokenizer: Any) -> str:
    """Folder of a tiny causal model with seeded weights."""
    ids = {"vocab_size": 270, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.AutoConfig.for_model(architecture, **{**ids, **SIZES[architecture], **(config or {})})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    byte_tokenizer(**tokenizer).save_pretrained(folder)
    return str(folder)


def echoes(count: int, seed: int) -> list[dict[str, str]]:
    """Requests to say a word, with the word as answer."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abc", k=rng.randint(1, 12))) for _ in range(count)]
    return [{"question": f"Say {word}", "answer": word} for word in words]

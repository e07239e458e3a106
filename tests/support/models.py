"""Tiny models with random weights from configurations, and a tokenizer of a hundred words."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedTokenizerFast

from tests.support.data import BAD, GOOD, NEUTRAL

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
ARCHITECTURES = {
    "bert": SIZE,
    "roberta": {**SIZE, "max_position_embeddings": 66, "pad_token_id": 0},
    "electra": {**SIZE, "embedding_size": 16},
    "mpnet": {**SIZE, "max_position_embeddings": 66, "pad_token_id": 0},
    "deberta-v2": {**SIZE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "modernbert": {**SIZE, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    "llama": {**SIZE, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 48, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
}
SEQ2SEQ = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
    "bart": {"decoder_start_token_id": 3, "bos_token_id": 2, "forced_eos_token_id": 3, "scale_embedding": True},
    "marian": {"decoder_start_token_id": 0, "decoder_vocab_size": 100, "forced_eos_token_id": None},
}
STACKS = {
    "d_model": 32,
    **{
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 48))
    },
    "max_position_embeddings": 64,
}


def tiny_tokenizer(pairs: bool = True) -> PreTrainedTokenizerFast:
    """Words separated by spaces, each one token."""
    words = [*SPECIAL, *GOOD, *BAD, *NEUTRAL]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    template = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B:1 [SEP]:1"}
    backend.post_processor = processors.TemplateProcessing(**template, special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", *(["token_type_ids"] if pairs else []), "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)


def tiny_model(folder: Path, architecture: str = "bert", **sizes: int) -> str:
    """A tiny model of an architecture with random, seeded weights and dropout 0.1, or one of other sizes, in a folder."""
    settings = {"vocab_size": 100, "max_position_embeddings": 64, **ARCHITECTURES[architecture], **sizes}
    config = transformers.AutoConfig.for_model(architecture, **settings)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tiny_tokenizer(pairs=architecture in ("bert", "electra", "deberta-v2")).save_pretrained(folder)
    return str(folder)


def tiny_seq2seq_model(folder: Path, architecture: str) -> str:
    """A tiny encoder–decoder model with random, seeded weights and dropout 0.1, in a folder."""
    shared = {} if architecture == "t5" else STACKS
    ids = {"vocab_size": 100, "pad_token_id": 0, "eos_token_id": 3}
    config = transformers.AutoConfig.for_model(architecture, **ids, **shared, **SEQ2SEQ[architecture])
    torch.manual_seed(0)
    transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer(pairs=False).save_pretrained(folder)
    return str(folder)

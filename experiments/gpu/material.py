"""Models with random weights, a tokenizer of made-up words, and texts whose label can be learned."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from bench import Bench
from tokenizers import Tokenizer, models, pre_tokenizers, processors

COMMON = [f"word{i}" for i in range(1900)]
TELLING = {label: [f"{label}{i}" for i in range(10)] for label in ("negative", "positive")}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SHARE = 0.5  # of the words of a text that tell its label
WRONG = 0.1  # of the texts have the other label, so that trained models are not sure of themselves, and scores can differ


def texts(bench: Bench) -> Path:
    """A folder with train, validation and test: the columns `sentence` and `label`."""

    def make(folder: Path) -> None:
        for seed, (split, count) in enumerate(zip(("train", "validation", "test"), bench.sizes.rows, strict=True)):
            rng = random.Random(seed)
            rows = [_row(rng, rng.randint(*bench.sizes.words)) for _ in range(count)]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return _made(bench.scratch / "texts", make)


def _row(rng: random.Random, length: int) -> dict[str, str]:
    label = rng.choice([*TELLING])
    words = [rng.choice(TELLING[label] if rng.random() < SHARE else COMMON) for _ in range(length)]
    given = rng.choice([*TELLING]) if rng.random() < 2 * WRONG else label
    return {"sentence": " ".join(words), "label": given}


def bert(bench: Bench) -> Path:
    """A BERT-base with random weights, in float32."""
    config = transformers.BertConfig(**bench.sizes.bert, pad_token_id=0)
    return _made(bench.scratch / "bert", lambda folder: _save_model(config, torch.float32, folder, pairs=True))


def llama(bench: Bench) -> Path:
    """A Llama of 1.1 billion parameters with random weights, in bfloat16."""
    config = transformers.LlamaConfig(**bench.sizes.llama, pad_token_id=0, bos_token_id=2, eos_token_id=3)
    return _made(bench.scratch / "llama", lambda folder: _save_model(config, torch.bfloat16, folder, pairs=False))


def _save_model(config: transformers.PretrainedConfig, dtype: torch.dtype, folder: Path, pairs: bool) -> None:
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):  # a GPU draws a billion weights in no time
        model = transformers.AutoModel.from_config(config, dtype=dtype)
    model.save_pretrained(folder)
    tokenizer(pairs).save_pretrained(folder)


def tokenizer(pairs: bool) -> transformers.PreTrainedTokenizerFast:
    """Words separated by spaces, each one token.

    Args:
        pairs: Whether the model has token types.
    """
    words = [*SPECIAL, *TELLING["negative"], *TELLING["positive"], *COMMON]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    inputs = ["input_ids", *(["token_type_ids"] if pairs else []), "attention_mask"]
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)


def _made(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is made once, and only seen when it is whole."""
    if not folder.is_dir():
        unfinished = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        unfinished.rename(folder)
    return folder

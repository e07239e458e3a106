"""Backbones in GGUF files, converted once into a model folder in the cache."""

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants
from tokenizers import pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ftlit.errors import UserError

CONVERSION = 1  # part of the cache key; increase it when the result of a conversion changes
REQUIRED_PACKAGES = ("gguf", "accelerate")
TEXT_END = "<|endoftext|>"

# Pre-tokenizers of llama.cpp (`tokenizer.ggml.pre`) that split numbers into single digits. transformers would split like
# GPT-2, which attaches a digit to the space before it and encodes "\n\n1." differently from the model's training data.
SINGLE_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}


def convert_gguf(path: Path) -> Path:
    """Return a folder with the float32 model and the tokenizer of a GGUF file, converting the file if necessary.

    The folder is in the cache of the Hugging Face libraries (``HF_HOME``). Its name contains a hash of the file.

    Raises:
        UserError: If the file does not exist, a package is missing, or transformers cannot read the file.
    """
    if not path.is_file():
        raise UserError(f"model.backbone: there is no file {str(path)!r}")
    state = path.stat()
    name = f"{path.stem}-{_digest(path, state.st_size, state.st_mtime_ns)}"
    folder = Path(constants.HF_HOME) / "ftlit" / "gguf" / name
    if not folder.is_dir():
        _require_packages(path)
        _make_once(folder, lambda part: _convert(path, part))
    return folder


@lru_cache
def _digest(path: Path, size: int, modified: int) -> str:
    """Return a short hash of a file's content. Size and modification time only serve as the key of the cache."""
    digest = hashlib.sha256(f"{CONVERSION}".encode())
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:16]


def _require_packages(path: Path) -> None:
    missing = [package for package in REQUIRED_PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"model.backbone {str(path)!r} is a GGUF file; to read it, run pip install {' '.join(missing)}")


def _make_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Create a folder atomically, in one process at a time."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(folder.name + ".part")
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            return
        shutil.rmtree(part, ignore_errors=True)  # left by a killed process
        try:
            make(part)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _convert(path: Path, folder: Path) -> None:
    print(f"converting {path.name} once; the result is cached", file=sys.stderr, flush=True)
    model, tokenizer = _read(path)
    if tokenizer.pad_token_id is not None:
        model.config.pad_token_id = tokenizer.pad_token_id
        if model.generation_config is not None:
            model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _read(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        model, info = _read_model(path)
        tokenizer = read_tokenizer(path)
    except Exception as error:  # a corrupt file can fail anywhere in the reader
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise UserError(
            f"model.backbone {str(path)!r} is not a GGUF file that transformers can read ({type(error).__name__}: {reason})"
        ) from error
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise UserError(
            f"model.backbone {str(path)!r} is missing {len(names)} weights of its architecture, such as {names[0]!r}"
        )
    return model, tokenizer


def _read_config(path: Path) -> Any:
    return transformers.AutoConfig.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)


def _read_model(path: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    config = _read_config(path)
    kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    # Versions of transformers without GgufConfig always dequantize.
    options = {"quantization_config": transformers.GgufConfig(dequantize=True)} if hasattr(transformers, "GgufConfig") else {}
    loaded: Any = kind.from_pretrained(
        path.parent,
        gguf_file=path.name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        trust_remote_code=False,
        **options,
    )
    return loaded


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a GGUF file."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    if _pre_tokenizer(path) in SINGLE_DIGITS:
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    # Padding is excluded from the loss and the end of a text is not, so they must be different tokens.
    available = tokenizer.eos_token != TEXT_END and TEXT_END in tokenizer.get_vocab()
    if available and tokenizer.pad_token in (None, tokenizer.eos_token):
        tokenizer.pad_token = TEXT_END
    if limit := getattr(_read_config(path), "max_position_embeddings", None):
        tokenizer.model_max_length = limit
    return tokenizer


def _pre_tokenizer(path: Path) -> str:
    from gguf import GGUFReader

    found = GGUFReader(path).fields.get("tokenizer.ggml.pre")
    return bytes(found.parts[found.data[0]]).decode() if found else ""

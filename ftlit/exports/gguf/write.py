"""Write a language model as one file in GGUF."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.gguf.architectures import ARCHITECTURES, add_settings, check_architecture, weights_of
from ftlit.exports.gguf.tokenizer import add_tokenizer, added_ends, vocabulary
from ftlit.exports.merge import make_plain
from ftlit.exports.traced.tracing import check_whole_weights
from ftlit.models.gguf import REQUIRED_PACKAGES
from ftlit.runs.exported import GGUF
from ftlit.tasks import CausalLM, TaskModule

TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}  # of gguf, by values of --dtype
FILE_TYPES = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
BLOCK = 32  # numbers of a row that share a scale in q8_0
TEMPLATE = "chat_template.jinja"


def check_gguf(task: TaskModule, data: TaskData) -> None:
    """Check that a task can be written in GGUF.

    Raises:
        UserError: It cannot, or a package is missing.
    """
    if missing := [package for package in REQUIRED_PACKAGES if find_spec(package) is None]:
        raise UserError(f"GGUF needs the package {missing[0]}, which is missing; install it with: pip install -e '.[gguf]'")
    if not isinstance(task, CausalLM):
        raise UserError(
            f"--format gguf writes language models of CausalLM, but the task is {type(task).__name__}; use --format onnx, or "
            "leave --format out"
        )
    config: Any = task.model.config
    check_whole_weights(task, "gguf")
    check_architecture(config)
    vocabulary(data.tokenizer, config.vocab_size)
    added_ends(data.tokenizer)


def write_gguf(task: TaskModule, data: TaskData, folder: Path, dtype: str) -> None:
    """Write the file of a task, which is merged in place, after `check_gguf`.

    Args:
        task: The task.
        data: Data module of the run.
        folder: The exported folder.
        dtype: Data type of matrices, or `q8_0` for blocks of 8 bits; vectors are always in float32.

    Raises:
        UserError: If the tuning method cannot be merged.
    """
    import gguf

    make_plain(task)
    model: Any = task.model.float().cpu()
    config, template = model.config, template_of(data)
    writer = gguf.GGUFWriter(folder / GGUF, ARCHITECTURES[config.model_type].name)
    writer.add_type("model")
    writer.add_name(config.model_type.capitalize())  # transformers would take the name mistral for an architecture
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[dtype]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_settings(writer, config)
    add_tokenizer(writer, data.tokenizer, config.vocab_size, template)
    for name, weight in weights_of(model):
        rows = np.ascontiguousarray(weight.detach().numpy())
        kind = gguf.GGMLQuantizationType[_type_of(rows, dtype)]
        writer.add_tensor(name, gguf.quantize(rows, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if template:
        (folder / TEMPLATE).write_text(template, encoding="utf-8")


def template_of(data: Any) -> str | None:
    """The template of chats of a run, or that of its tokenizer."""
    own = getattr(data, "chat_template", None)
    return own.source if own else data.tokenizer.chat_template


def _type_of(rows: np.ndarray, dtype: str) -> str:
    """The type of a weight: llama.cpp takes vectors in float32 only, and rows of q8_0 have whole blocks."""
    if rows.ndim == 1:
        return "F32"
    return "F16" if dtype == "q8_0" and rows.shape[-1] % BLOCK else TYPES[dtype]


def usage(chats: bool) -> str:
    """The code that uses a file, for its model card."""
    ask = 'create_chat_completion([{"role": "user", "content": "..."}])' if chats else '("Once upon a time")'
    lines = [
        "from llama_cpp import Llama",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'print(Llama("this/folder/{GGUF}"){"." if chats else ""}{ask})',
        f'model = AutoModelForCausalLM.from_pretrained("this/folder", gguf_file="{GGUF}")',
        f'tokenizer = AutoTokenizer.from_pretrained("this/folder", gguf_file="{GGUF}")',
    ]
    return "\n".join(lines)

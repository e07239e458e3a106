"""Verify a file in GGUF: transformers must read the outputs of the run from it, and ftlit its tokens."""

from pathlib import Path
from typing import Any

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.gguf.tokenizer import PROBE
from ftlit.exports.verify import Reference, verify_folder
from ftlit.models.gguf import read_tokenizer
from ftlit.runs.exported import GGUF, METADATA_FILE, read_metadata
from ftlit.runs.opening import build
from ftlit.tasks import TaskModule


def verify_gguf(expected: Reference, task: TaskModule, data: TaskData, folder: Path, work: Path, dtype: str) -> float:
    """Compare the outputs of a file in a new process, and its tokens in this one, with those of the run.

    Args:
        expected: Outputs of the run.
        task: Task of the run.
        data: Data module of the run.
        folder: The exported folder.
        work: Folder for files that are exchanged between the processes.
        dtype: Data type of the weights.

    Returns:
        The largest difference, relative to the largest output, or to 1 if all are smaller.

    Raises:
        UserError: If the file cannot be opened, its tokens are others, or the difference is above the tolerance.
    """
    check_tokens(expected, data, folder)
    return verify_folder(expected, task, "model", folder, work, dtype, GGUF)


def check_tokens(expected: Reference, data: TaskData, folder: Path) -> None:
    """Compare the tokens of rows and of special tokens with those of the run.

    Args:
        expected: Rows and their tokens.
        data: Data module of the run.
        folder: The exported folder.

    Raises:
        UserError: They are others.
    """
    own: Any = data.tokenizer
    read: Any = read_tokenizer(folder / GGUF)
    same = all(own(text)["input_ids"] == read(text)["input_ids"] for text in (PROBE, "".join(own.get_added_vocab())))
    # With the backbone of the run, since that of the folder would first be converted into the cache.
    arguments = {**read_metadata(folder)["data"], "backbone": data.backbone}
    other = build(TaskData, arguments, folder / METADATA_FILE, data.trust_remote_code)
    other.tokenizer = read
    if not same or other.encode_split(expected.rows)["input_ids"][:] != expected.tokens:
        raise UserError(
            f"--format gguf: transformers reads a tokenizer from {GGUF} that returns other tokens than that of the run; "
            "leave --format out"
        )

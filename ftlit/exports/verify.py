"""Verify an export: in a process without ftlit, the folder must return the outputs of the run."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports import verify_script
from ftlit.exports.adapters import base_model_name
from ftlit.runs.exported import BACKBONE, Kind
from ftlit.tasks import TaskModule
from ftlit.tasks.seq2seq import Seq2Seq
from ftlit.tuning.prompted_backbone import PromptedBackbone
from ftlit.util.files import write_json
from ftlit.util.hub import unpinned

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 8  # rows of validation to compare
ROWS_READ, BLOCKS = 32, 2  # for language models, whose blocks contain several rows and whose logits are large
TOKENS = 128  # tokens of each row that are compared in the new process
# Largest difference allowed, relative to the largest output, or to 1 if all are smaller. Merging low-rank updates changes the
# last bits of outputs in float32. float16 keeps 11 bits of a weight, bfloat16 8, and so does q8_0 of the largest of 32.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1, "q8_0": 1e-1}


@dataclass(frozen=True)
class Reference:
    """A few rows of validation and the outputs of the run for them.

    Args:
        rows: The rows.
        tokens: Token ids of the rows.
        batch: Batch of the rows.
        logits: Logits of the task for the batch.
        inputs: Tensor arguments of the model, or of its backbone.
        settings: Other arguments.
        outputs: Outputs of the model or backbone for these arguments.
    """

    rows: "Dataset"
    tokens: list[list[int]]
    batch: dict[str, Any]
    logits: Tensor
    inputs: dict[str, Tensor]
    settings: dict[str, Any]
    outputs: dict[str, Tensor] = field(default_factory=dict)

    def scaled(self, mean: float, deviation: float) -> "Reference":
        """The reference of a regression whose outputs are in the unit of the target."""
        if (mean, deviation) == (0.0, 1.0):
            return self
        outputs = {name: value * deviation + mean for name, value in self.outputs.items()}
        return replace(self, logits=self.logits * deviation + mean, outputs=outputs)


def reference_outputs(task: TaskModule, data: TaskData, kind: Kind) -> Reference:
    """Compute the outputs of a run for rows of validation, before anything is merged.

    Raises:
        UserError: If the data cannot be read.
    """
    generative = task.pretrained_head or isinstance(task, Seq2Seq)
    rows = validation_rows(data, ROWS_READ if generative else ROWS)
    features = data.encode_split(rows)
    data.encoded["validation"] = features.select(range(min(BLOCKS if generative else ROWS, len(features))))
    device = next(task.model.parameters()).device
    loaded = next(iter(data.val_dataloader()))
    batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in loaded.items()}
    passed: dict[str, Any] = {}
    handle = task.model.register_forward_pre_hook(lambda _, args, kwargs: passed.update(kwargs), with_kwargs=True)
    with torch.inference_mode():
        logits = task.logits(batch).float()
    handle.remove()
    part = task.model if kind in ("model", "own_head") else task.backbone
    arguments = _arguments(part, passed) if part is not task.model or kind == "adapter" else passed
    inputs = {name: value[..., :TOKENS] for name, value in arguments.items() if isinstance(value, Tensor)}
    settings = {name: value for name, value in arguments.items() if not isinstance(value, Tensor)}
    with torch.inference_mode():
        output = part(**inputs, **settings)
    return Reference(rows, features["input_ids"][:], batch, logits, inputs, settings, _tensors(output))


def validation_rows(data: TaskData, count: int) -> "Dataset":
    """Return the first rows of validation.

    Raises:
        UserError: If the data cannot be read.
    """
    try:
        rows = data.rows["validation"]
    except (UserError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"the rows of validation on which an export is verified cannot be read ({error}); restore the data at the location "
            "of data.dataset"
        ) from error
    return rows.select(range(min(count, len(rows))))


def _arguments(backbone: Any, passed: dict[str, Any]) -> dict[str, Any]:
    """Select the arguments of a model that its backbone accepts in peft."""
    prompted = isinstance(backbone, PromptedBackbone)
    plain = backbone.base if prompted else getattr(backbone, "get_base_model", lambda: backbone)()
    unsupported = {"token_type_ids", "position_ids"} if prompted else set()  # by prompts in peft
    return {name: value for name, value in passed.items() if name in signature(plain.forward).parameters.keys() - unsupported}


def _tensors(output: Any) -> dict[str, Tensor]:
    names = [name for name in output if name == "last_hidden_state" or name.endswith("logits")]
    return {name: output[name].float().cpu().contiguous() for name in names}


def verify_folder(
    expected: Reference, task: TaskModule, kind: Kind, folder: Path, work: Path, dtype: str, gguf_file: str | None = None
) -> float:
    """Compare the outputs of an exported folder in a new process with those of the run.

    Args:
        expected: Outputs of the run.
        task: Task of the run.
        kind: Kind of the folder.
        folder: The exported folder.
        work: Folder for files that are exchanged between the processes.
        dtype: Data type of the exported weights.
        gguf_file: Name of the file with the model if that is in GGUF.

    Returns:
        The largest difference, relative to the largest output, or to 1 if all are smaller.

    Raises:
        UserError: If the folder cannot be loaded, or the difference is above the tolerance.
    """
    work.mkdir()
    save_file({name: value.cpu().contiguous() for name, value in expected.inputs.items()}, work / "inputs.safetensors")
    write_json(work / "plan.json", {**_plan(expected, task, kind, folder), "gguf_file": gguf_file})
    run_in_new_process(work)
    found, names = load_file(work / "found.safetensors"), "transformers and peft" if kind == "adapter" else "transformers"
    quantized = getattr(task.model.config, "quantization_config", None) is not None
    return check_difference(f"a process with {names} alone", found, expected.outputs, "bfloat16" if quantized else dtype)


def _plan(expected: Reference, task: TaskModule, kind: Kind, folder: Path) -> dict[str, Any]:
    with_head = kind in ("model", "own_head") or task.backbone is task.model
    quantization = getattr(task.model.config, "quantization_config", None)
    return {
        "folder": str(folder / BACKBONE if kind == "backbone" else folder),
        "auto_class": task.auto_class.__name__ if with_head else "AutoModel",
        "base": base_model_name(task) if kind == "adapter" else None,
        "revision": unpinned(task.hparams["backbone"])[1],
        "quantization": quantization.to_dict() if quantization else None,
        "added_tokens": list(task.added_tokens),
        "trust_remote_code": task.hparams["trust_remote_code"] or kind == "own_head",
        "settings": expected.settings,
        "outputs": list(expected.outputs),
    }


def run_in_new_process(work: Path, module: Any = verify_script) -> None:
    """Run a script in a new process that does not import ftlit.

    Args:
        work: Folder with the files that the script reads.
        module: The script.

    Raises:
        UserError: If it fails.
    """
    script = shutil.copy(module.__file__, work)  # next to the script in ftlit are modules that it must not import
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, script, str(work)]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the exported folder cannot be loaded without ftlit: {(done.stderr.strip() or '?').splitlines()[-1]}")


def verify_loaded(expected: Reference, task: TaskModule, data: TaskData, dtype: str) -> float:
    """Compare the tokens and logits of the task that `ftlit.load` opens with those of the run."""
    if data.encode_split(expected.rows)["input_ids"][:] != expected.tokens:
        raise UserError("the exported tokenizer returns other tokens than that of the run")
    with torch.inference_mode():
        logits = task.eval().logits(expected.batch).float()
    return check_difference("ftlit.load", {"logits": logits}, {"logits": expected.logits}, dtype)


def check_difference(where: str, found: dict[str, Tensor], expected: dict[str, Tensor], dtype: str) -> float:
    """Compare outputs and return their largest difference, see `relative_difference`.

    Raises:
        UserError: If it is above the tolerance of the data type.
    """
    largest = 0.0
    for name, value in expected.items():
        actual = found[name]
        if name == "last_hidden_state":  # peft returns the hidden states of a prompt too
            actual = actual[:, -value.shape[1] :]
        difference = relative_difference(actual, value)
        if not difference <= TOLERANCES[dtype]:
            raise UserError(
                f"the export differs from the run: {name} in {where} by {difference:.2g} of the largest value, but {dtype} "
                f"allows {TOLERANCES[dtype]:g}; nothing was written"
            )
        largest = max(largest, difference)
    return largest


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two tensors relative to the largest finite expected value, or to 1 if that is less."""
    if found.shape != expected.shape:
        return float("inf")
    finite = expected[expected.isfinite()].abs()
    scale = max(float(finite.max()) if finite.numel() else 0.0, 1.0)
    same = (found == expected) | (found.isnan() & expected.isnan())
    difference = torch.where(same, 0.0, (found - expected).abs()).nan_to_num(nan=float("inf"))
    return float(difference.max()) / scale if difference.numel() else 0.0

"""The proof of an export: what the folder gives to a process that does not know ftlit is what the run gave."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.adapters import base_name
from ftlit.exports.folder import Kind
from ftlit.tasks import TaskModule
from ftlit.tasks.seq2seq import Seq2Seq
from ftlit.tuning.prompt_tuning import Learned
from ftlit.util.files import write_json

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 8  # of validation to compare
ROWS_READ, BLOCKS = 32, 2  # of language models, whose blocks hold several rows, and whose tokens have as many logits as words
TOKENS = 128  # of each row that go through the fresh process
# The largest difference allowed, as a share of the largest output, or of 1 where all are smaller. Outputs in float32 differ in
# their last bits when low-rank updates are added to the weights; half precision keeps 11 bits of a weight, bfloat16 8.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}


@dataclass(frozen=True)
class Probe:
    """A few rows of validation and what the run gives for them.

    Args:
        rows: The rows.
        tokens: Their tokens.
        batch: Their batch.
        logits: The task's logits for the batch.
        inputs: Tensors for the model, or for its backbone.
        settings: Other arguments for it.
        outputs: What it gives for both.
    """

    rows: "Dataset"
    tokens: list[list[int]]
    batch: dict[str, Any]
    logits: Tensor
    inputs: dict[str, Tensor]
    settings: dict[str, Any]
    outputs: dict[str, Tensor] = field(default_factory=dict)


def probe(task: TaskModule, data: TaskData, kind: Kind) -> Probe:
    """What the run gives for rows of validation, before anything is merged.

    Raises:
        UserError: The data cannot be read.
    """
    words = task.pretrained_head or isinstance(task, Seq2Seq)
    rows = _rows(data, ROWS_READ if words else ROWS)
    features = data.encode_split(rows)
    data.encoded["validation"] = features.select(range(min(BLOCKS if words else ROWS, len(features))))
    device = next(task.model.parameters()).device
    loaded = next(iter(data.val_dataloader()))
    batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in loaded.items()}
    given: dict[str, Any] = {}
    handle = task.model.register_forward_pre_hook(lambda _, args, kwargs: given.update(kwargs), with_kwargs=True)
    with torch.inference_mode():
        logits = task.logits(batch).float()
    handle.remove()
    part = task.model if kind == "model" else task.backbone
    arguments = _arguments(part, given) if part is not task.model or kind == "adapter" else given
    inputs = {name: value[..., :TOKENS] for name, value in arguments.items() if isinstance(value, Tensor)}
    settings = {name: value for name, value in arguments.items() if not isinstance(value, Tensor)}
    with torch.inference_mode():
        found = part(**inputs, **settings)
    return Probe(rows, features["input_ids"][:], batch, logits, inputs, settings, _outputs(found))


def _rows(data: TaskData, count: int) -> "Dataset":
    try:
        rows = data.rows["validation"]
    except (UserError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"an export is compared with its run on rows of validation, and these cannot be read ({error}); put the data back "
            "where data.dataset names them"
        ) from error
    return rows.select(range(min(count, len(rows))))


def _arguments(backbone: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Those of a model's arguments that its backbone takes in peft."""
    learned = isinstance(backbone, Learned)
    plain = backbone.base if learned else getattr(backbone, "get_base_model", lambda: backbone)()
    unknown = {"token_type_ids", "position_ids"} if learned else set()  # to peft, of texts behind learned tokens
    return {name: value for name, value in given.items() if name in signature(plain.forward).parameters.keys() - unknown}


def _outputs(found: Any) -> dict[str, Tensor]:
    names = [name for name in found if name == "last_hidden_state" or name.endswith("logits")]
    return {name: found[name].float().cpu().contiguous() for name in names}


def prove(expected: Probe, task: TaskModule, kind: Kind, folder: Path, work: Path, dtype: str) -> float:
    """Run the folder in a fresh process and compare.

    Args:
        expected: What the run gives.
        task: The task of the run.
        kind: What the folder is.
        folder: The exported folder.
        work: A folder for what passes between the processes.
        dtype: Type of the exported weights.

    Returns:
        The largest difference, as a share of the largest output, or of 1 where all are smaller.

    Raises:
        UserError: The folder does not open, or the difference is above the tolerance.
    """
    work.mkdir()
    save_file({name: value.cpu().contiguous() for name, value in expected.inputs.items()}, work / "inputs.safetensors")
    write_json(work / "plan.json", _plan(expected, task, kind, folder))
    run_fresh(work)
    found, names = load_file(work / "found.safetensors"), "transformers and peft" if kind == "adapter" else "transformers"
    quantized = getattr(task.model.config, "quantization_config", None) is not None
    return check(f"a process with {names} alone", found, expected.outputs, "bfloat16" if quantized else dtype)


def _plan(expected: Probe, task: TaskModule, kind: Kind, folder: Path) -> dict[str, Any]:
    whole = kind == "model" or task.backbone is task.model
    quantization = getattr(task.model.config, "quantization_config", None)
    return {
        "folder": str(folder),
        "auto_class": task.auto_class.__name__ if whole else "AutoModel",
        "base": base_name(task) if kind == "adapter" else None,
        "quantization": quantization.to_dict() if quantization else None,
        "added_tokens": list(task.added_tokens),
        "trust_remote_code": task.hparams["trust_remote_code"],
        "settings": expected.settings,
        "outputs": list(expected.outputs),
    }


def run_fresh(work: Path) -> None:
    """Run `ftlit.exports.verify_script` in a process of its own, which imports nothing of ftlit.

    Raises:
        UserError: It failed.
    """
    script = shutil.copy(Path(__file__).parent / "verify_script.py", work)  # away from the modules beside it
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, str(script), str(work)]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the exported folder does not open without ftlit: {(done.stderr.strip() or '?').splitlines()[-1]}")


def prove_again(expected: Probe, task: TaskModule, data: TaskData, dtype: str) -> float:
    """Compare the tokens and logits of the task that `ftlit.load` opens, as `prove` does its outputs."""
    if data.encode_split(expected.rows)["input_ids"][:] != expected.tokens:
        raise UserError("the exported tokenizer gives other tokens than the run's")
    with torch.inference_mode():
        logits = task.eval().logits(expected.batch).float()
    return check("ftlit.load", {"logits": logits}, {"logits": expected.logits}, dtype)


def check(who: str, found: dict[str, Tensor], expected: dict[str, Tensor], dtype: str) -> float:
    """The largest difference between tensors, as a share of the largest expected value, or of 1 where all are smaller.

    Raises:
        UserError: It is above the tolerance of the type.
    """
    most = 0.0
    for name, value in expected.items():
        given = found[name]
        if name == "last_hidden_state":  # peft gives vectors of learned tokens too
            given = given[:, -value.shape[1] :]
        difference = difference_of(given, value)
        if not difference <= TOLERANCES[dtype]:
            raise UserError(
                f"the export differs from the run: {name} in {who} by {difference:.2g} of the largest value, where {dtype} "
                f"allows {TOLERANCES[dtype]:g}; nothing was written"
            )
        most = max(most, difference)
    return most


def difference_of(found: Tensor, expected: Tensor) -> float:
    """The largest difference of two tensors relative to the largest finite expected value, or to 1 where that is less."""
    if found.shape != expected.shape:
        return float("inf")
    finite = expected[expected.isfinite()].abs()
    scale = max(float(finite.max()) if finite.numel() else 0.0, 1.0)
    same = (found == expected) | (found.isnan() & expected.isnan())
    apart = torch.where(same, 0.0, (found - expected).abs()).nan_to_num(nan=float("inf"))
    return float(apart.max()) / scale if apart.numel() else 0.0

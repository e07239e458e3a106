"""Write and read checkpoints of the trained weights, and check that they fit the model and the data."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.fabric.plugins import TorchCheckpointIO
from torch import nn

from ftlit.errors import UserError
from ftlit.runs.files import BEST, CHECKPOINTS, LAST
from ftlit.runs.opening import build
from ftlit.runs.reading import RunFolder
from ftlit.tuning.base import is_trainable
from ftlit.util.files import replacing
from ftlit.util.label_sets import listed


def frozen_keys(module: nn.Module) -> set[str]:
    """Names of the weights that never train. Tied weights are included under each of their names."""
    return {name for name, weight in module.named_parameters(remove_duplicate=False) if not is_trainable(weight)}


def trained_keys(module: nn.Module) -> set[str]:
    """Names of the trained weights and the buffers in the state dict."""
    frozen = frozen_keys(module)
    # 4-bit weights have additional keys, such as `weight.absmax`.
    return {key for key in module.state_dict() if not {key, key.partition(".weight.")[0] + ".weight"} & frozen}


def frozen_digest(module: nn.Module, rewritten: bool = False) -> str:
    """A short hash of the frozen weights: their names, their shapes, and the first and last 256 values of each.

    A checkpoint that does not contain the frozen weights is valid only together with the same ones. The first and last values
    suffice to tell pretrained models apart, and take no longer for large models.

    Args:
        module: The module.
        rewritten: Whether the tuning method changes the frozen weights of the layers that it wraps. These may differ in
            their last bits between machines, and are excluded.
    """
    state = module.state_dict()
    names = sorted(name for name in frozen_keys(module) if not (rewritten and ".base_layer." in name))
    return weights_digest({name: state[name] for name in names}) if names else ""


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """A short hash of weights: their names, their shapes, and the first and last 256 values of each."""
    digest = hashlib.sha256()
    for name, values in weights.items():
        weight = values.detach().flatten()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(torch.cat([weight[:256], weight[-256:]]).float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_trained(module: nn.Module, missing: list[str], unexpected: list[str], tuning: object) -> None:
    """Check that a checkpoint contains exactly the trained weights.

    Raises:
        UserError: Trained weights are missing, or there are other weights.
    """
    lost = sorted(trained_keys(module) & set(missing))
    if lost or unexpected:
        raise UserError(
            f"the checkpoint was not made with model.tuning {tuning}: it lacks {len(lost)} trained weights {lost[:2]} "
            f"and has {len(unexpected)} that do not belong {unexpected[:2]}; use the config that it was made with"
        )


def check_complete(trained: set[str], kept: set[str]) -> None:
    """Check that no trained weights, such as those of the head, would be missing from a checkpoint.

    Args:
        trained: Names of the weights that were trainable when the model was built.
        kept: Names of the weights in the checkpoint.

    Raises:
        UserError: Some weights are missing.
    """
    if lost := sorted(trained - kept):
        raise UserError(
            f"the checkpoint would lack {len(lost)} weights that were to train, {lost[:3]}: they were frozen or renamed in the "
            "course of training, and a checkpoint holds what trains; to hold them still, keep requires_grad and set their "
            "learning rate to 0 by model.head_lr_factor or model.lr_factors"
        )


def check_labels(checkpoint: dict[str, Any], names: list[str]) -> None:
    """Check that a checkpoint was trained on the same labels.

    Raises:
        UserError: The labels or their order differ.
    """
    known = checkpoint.get("hyper_parameters", {}).get("label_names", names)
    if known != names:
        raise UserError(
            f"the checkpoint was trained on the labels {listed(known, names)}, but the data have {listed(names, known)}; "
            "set data.label_names to the labels of the checkpoint, in its order"
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Weights are read from the file when they are used.

    Raises:
        UserError: The file is not a checkpoint.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except MemoryError:
        raise
    except Exception:  # of many kinds; what torch says of it advises to load with less care
        found = None
    if not isinstance(found, dict) or not {"state_dict", "frozen_digest"} <= found.keys():
        fact = "is empty" if path.is_file() and not path.stat().st_size else "is not a checkpoint of ftlit, or is damaged"
        raise UserError(f"{path} {fact}; a run has its own in {CHECKPOINTS}")
    return found


def check_whole(path: Path, checkpoint: dict[str, Any]) -> None:
    """Check that a checkpoint contains the optimizer's state, so that training can continue from it.

    Raises:
        UserError: The checkpoint contains only weights.
    """
    if "optimizer_states" not in checkpoint:
        raise UserError(
            f"--ckpt_path {path} holds weights only, but training continues from a whole checkpoint such as {LAST}; "
            "to start from these weights, set --model.init_from to the run's folder"
        )


def check_order(checkpoint: dict[str, Any], now: dict[str, str]) -> None:
    """Check that a resumed run uses the examples in the same order as before.

    Args:
        checkpoint: The checkpoint to resume from.
        now: The current settings that decide the order, from `TaskData.resume_signature`.

    Raises:
        UserError: The settings have changed since the checkpoint; the message lists the changes.
    """
    then = checkpoint.get("order", now)
    changed = [f"{name} was {then[name]}, is {now[name]}" for name in now if then.get(name, now[name]) != now[name]]
    if changed:
        raise UserError(
            f"the run cannot continue exactly, because the order of its examples has changed: {'; '.join(changed)}; "
            "resume with the settings that it began with, or start another --run_dir"
        )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and renames it, so that a crash never leaves a partial file.

    To write, Lightning would first build the whole file in memory, which takes additional time and memory.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replacing(Path(path)) as beside:
            try:
                torch.save(checkpoint, beside)
            except RuntimeError:  # in which PyTorch wraps all errors of the system
                with beside.open("ab") as file:
                    file.write(bytes(2**20))
                raise

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return super().load_checkpoint(path, *args, **kwargs)
        except Exception:
            read_checkpoint(Path(path))  # says what is wrong with it
            raise


def step_of(path: Path) -> int:
    """The optimizer step at which a checkpoint was written."""
    return read_checkpoint(path)["global_step"]


def load_task(path: Path, trust_remote_code: bool = False) -> Any:
    """Load the task of a checkpoint: the frozen weights from its backbone, and the trained ones from the checkpoint.

    If every weight was trained, all of them are in the checkpoint, and `init_from` is not needed.

    Args:
        path: The checkpoint.
        trust_remote_code: Whether to run code that comes with the backbone.

    Raises:
        UserError: The weights do not fit, the backbone or `init_from` no longer exists, or the checkpoint names a class that
            the user has not trusted.
    """
    stored = read_checkpoint(path)
    arguments = stored.get("hyper_parameters") or {}
    if stored.get("frozen_digest") == "" and "init_from" in arguments:
        arguments = {**arguments, "init_from": None}
    task = build(LightningModule, arguments, path, trust_remote_code)
    task.on_load_checkpoint(stored)
    task.load_state_dict(stored["state_dict"])
    return task


def find_checkpoint(run_dir: Path, which: str = "best") -> Path:
    """Return the path of the checkpoint `best` or `last` of a run, or a given path of a checkpoint.

    Raises:
        UserError: The checkpoint does not exist, or the run was written by another version of ftlit.
    """
    RunFolder(run_dir).check_schema()
    path = run_dir / {"best": BEST, "last": LAST}.get(which, which)
    path = path if path.exists() or which in ("best", "last") else Path(which)
    if path.is_file():
        return path
    if which in ("best", "last"):
        raise UserError(f"{path} does not exist: {run_dir} holds no finished run; train one with `python -m ftlit fit`")
    raise UserError(f"the checkpoint {path} does not exist; expected a path such as {run_dir / BEST}, or best or last")

"""A finished run as a folder of Hugging Face, which proves that it gives what the run gave."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import PreTrainedModel

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.adapters import require_adapter, save_adapter
from ftlit.exports.folder import ABOUT, Kind, arguments_of, build, data_for_export, is_exported, open_exported, save_beside
from ftlit.exports.merge import save_merged, save_tokenizer
from ftlit.exports.model_card import CONFIG, model_card
from ftlit.exports.verify import probe, prove, prove_again
from ftlit.runs.checkpoint import find_checkpoint, load_task, read_checkpoint
from ftlit.runs.reading import RunFolder
from ftlit.runs.record import versions
from ftlit.runs.secrets import hidden
from ftlit.tasks import TaskModule
from ftlit.util.files import read_json
from ftlit.util.startup import quiet

Dtype = Literal["float32", "bfloat16", "float16"]
WRITTEN: dict[Kind, str] = {
    "model": "the whole model",
    "backbone": "the backbone and, beside it, the head",
    "adapter": "the adapter and, beside it, the head",
}


def export(
    run: str,
    output: str,
    adapter_only: bool = False,
    checkpoint: str = "best",
    dtype: Dtype = "float32",
    overwrite: bool = False,
) -> None:
    """Write a finished run as a Hugging Face folder, compared with the run in a process that knows transformers alone.

    Args:
        run: The run's folder.
        output: The folder to write.
        adapter_only: Whether to write the adapter of peft and the head instead of the whole model with the adapter merged.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        dtype: Type of the written weights.
        overwrite: Whether to replace an earlier export in the output folder.

    Raises:
        UserError: The run is not finished, its method does not go with what is asked, or the written folder does not give
            what the run gives.
    """
    quiet()
    run_dir, target = Path(run).expanduser(), Path(output).expanduser()
    path = find_checkpoint(run_dir, checkpoint)
    _check_finished(run_dir)
    _check_target(target, overwrite)
    if adapter_only and dtype != "float32":
        raise UserError(f"--dtype {dtype} goes with merged weights; an adapter is small and stays in float32")
    work = _beside(target)
    try:
        kind, difference = Export(run_dir, path, work, dtype).write(adapter_only)
        _place(work / "folder", target, work / "replaced")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"wrote {WRITTEN[kind]} to {target}; what it gives differs from the run's by {difference:.1e} of the largest value")


def _check_finished(run_dir: Path) -> None:
    run = RunFolder(run_dir)
    if not run.finished:
        raise UserError(
            f"--run {str(run_dir)!r} is not finished: run.json says {run.status or 'nothing'}; finish it with "
            f"`python -m ftlit fit --resume --run_dir {run_dir}`"
        )


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_file():
        raise UserError(f"--output {str(target)!r} is a file; name a folder")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not is_exported(target):
        raise UserError(f"--output {str(target)!r} is not empty and holds no export; name another folder")
    if not overwrite:
        raise UserError(f"--output {str(target)!r} holds an export; replace it by --overwrite, or name another folder")


def _beside(target: Path) -> Path:
    """A new folder beside the target, on the same disk, so that what is in it can be renamed into place."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)).resolve()
    except OSError as error:
        raise UserError(f"--output {str(target)!r} cannot be written: {error}") from error


def _place(folder: Path, target: Path, aside: Path) -> None:
    """Rename a whole folder into place."""
    replaced = target.is_dir()
    if replaced:
        target.rename(aside)
    try:
        folder.rename(target)
    except OSError:
        if replaced:
            aside.rename(target)
        raise


class Export:
    """The writing of a checkpoint as a folder.

    Args:
        run_dir: The run's folder.
        path: The checkpoint.
        work: A folder for the export, which becomes ``folder`` in it, and for its proof.
        dtype: Type of the weights.
    """

    def __init__(self, run_dir: Path, path: Path, work: Path, dtype: Dtype) -> None:
        self.run_dir, self.folder, self.proof, self.dtype = run_dir, work / "folder", work / "proof", dtype
        self.stored = read_checkpoint(path)
        self.task: TaskModule = load_task(path).eval()
        self.data: TaskData = build(TaskData, data_for_export(self.stored["datamodule_hyper_parameters"]))

    def write(self, adapter_only: bool) -> tuple[Kind, float]:
        """Write and prove the folder; give its kind, and how far what it gives is from what the run gives.

        Raises:
            UserError: The tuning method does not go with what is asked, or the difference is too large.
        """
        if adapter_only:
            require_adapter(self.task)
        kind = self._kind(adapter_only)
        expected = probe(self.task, self.data, kind)
        self.folder.mkdir()
        if adapter_only:
            save_adapter(self.task, self.folder)
        else:
            save_merged(self.task, self.folder, self.dtype)
        save_beside(self.task, kind, self.folder)
        save_tokenizer(self.task, self.data, self.folder)
        self._describe(kind)
        for file in self.folder.rglob("*.safetensors"):  # which safetensors writes for its owner alone
            shutil.copymode(self.folder / ABOUT, file)
        differences = (
            prove(expected, self.task, kind, self.folder, self.proof, self.dtype),
            prove_again(expected, *open_exported(self.folder), self.dtype),
        )
        self._note(difference=max(differences))
        return kind, max(differences)

    def _kind(self, adapter_only: bool) -> Kind:
        if adapter_only:
            return "adapter"
        known = isinstance(self.task.model, PreTrainedModel) or self.task.model is self.task.backbone
        return "model" if known else "backbone"

    def _describe(self, kind: Kind) -> None:
        """Write what opens the folder again, the model card, and the config of the run."""
        arguments = arguments_of(self.stored, kind, self.data)
        self._note(kind=kind, **arguments, dtype=self.dtype, versions=versions(), run=self.run_dir.resolve().name)
        (self.folder / "README.md").write_text(model_card(self.run_dir, self.task, kind, self.dtype), encoding="utf-8")
        config = hidden(RunFolder(self.run_dir).config)
        (self.folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def _note(self, **facts: Any) -> None:
        about = self.folder / ABOUT
        text = json.dumps({**read_json(about), **facts}, indent=2, ensure_ascii=False)
        about.write_text(text + "\n", encoding="utf-8")

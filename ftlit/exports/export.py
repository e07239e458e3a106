"""Export a finished run as a Hugging Face folder, and verify that its outputs are those of the run."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import PreTrainedModel

from ftlit.errors import UserError
from ftlit.exports.adapters import check_adapter, save_adapter
from ftlit.exports.folder import (
    METADATA_FILE,
    Kind,
    export_arguments,
    is_exported,
    open_exported,
    save_separate_weights,
    stored_data,
)
from ftlit.exports.merge import save_merged, save_tokenizer
from ftlit.exports.model_card import RUN_CONFIG, model_card
from ftlit.exports.own_head import apply_scale, exported_scale, has_own_head
from ftlit.exports.verify import reference_outputs, verify_folder, verify_loaded
from ftlit.runs.checkpoint import find_checkpoint, load_task, read_checkpoint
from ftlit.runs.reading import RunFolder
from ftlit.runs.record import versions
from ftlit.runs.secrets import hidden
from ftlit.tasks import TaskModule
from ftlit.util.arguments.plain import plain
from ftlit.util.files import read_json
from ftlit.util.startup import quiet
from ftlit.util.trust import check_source, import_trusted

Dtype = Literal["float32", "bfloat16", "float16"]
KIND_DESCRIPTIONS: dict[Kind, str] = {
    "model": "the model",
    "own_head": "the model, with the code of its head",
    "backbone": "the backbone, with the head in a separate file",
    "adapter": "the adapter, with the head in a separate file",
}


def export(
    run: str,
    output: str,
    adapter_only: bool = False,
    checkpoint: str = "best",
    dtype: Dtype = "float32",
    overwrite: bool = False,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Export a finished run as a Hugging Face folder. Its outputs are compared with the run in a process without ftlit.

    Args:
        run: Folder of the run.
        output: Folder to write.
        adapter_only: Whether to write the peft adapter and the head instead of the model with merged weights.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        dtype: Data type of the written weights.
        overwrite: Whether to replace an earlier export in the output folder.
        trust_remote_code: Whether to run code that comes with the backbone. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Raises:
        UserError: If the run is not finished, its tuning method does not support the export, or the outputs differ.
    """
    quiet()
    run_dir, target = Path(run).expanduser(), Path(output).expanduser()
    path = find_checkpoint(run_dir, checkpoint)
    _check_finished(run_dir)
    _check_target(target, overwrite)
    if adapter_only and dtype != "float32":
        raise UserError(f"--dtype {dtype} applies to merged weights only; an adapter is saved in float32")
    import_trusted(trust_classes)
    check_source(str(read_checkpoint(path).get("datamodule_hyper_parameters", {}).get("dataset")), trust_classes)
    work = _temporary_folder(target)
    try:
        kind, difference = Export(run_dir, path, work, dtype, trust_remote_code).write(adapter_only)
        _replace(work / "folder", target, work / "replaced")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    written = f"wrote {KIND_DESCRIPTIONS[kind]} to {target}"
    print(f"{written}; its outputs differ from the run's by {difference:.1e} of the largest value")


def _check_finished(run_dir: Path) -> None:
    run = RunFolder(run_dir)
    if not run.finished:
        raise UserError(
            f"--run {str(run_dir)!r} is not finished: run.json says {run.status or 'nothing'}; finish it with "
            f"`python -m ftlit fit --resume --run_dir {run_dir}`"
        )


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_file():
        raise UserError(f"--output {str(target)!r} is a file; expected a folder")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not is_exported(target):
        raise UserError(f"--output {str(target)!r} is not empty and not an export; choose another folder")
    if not overwrite:
        raise UserError(f"--output {str(target)!r} is an earlier export; replace it with --overwrite, or choose another folder")


def _temporary_folder(target: Path) -> Path:
    """Create a folder next to the target, on the same disk, so that its contents can be moved by renaming."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)).resolve()
    except OSError as error:
        raise UserError(f"--output {str(target)!r} cannot be written: {error}") from error


def _replace(folder: Path, target: Path, backup: Path) -> None:
    """Move a folder to its target by renaming. An earlier target is restored if this fails."""
    replaced = target.is_dir()
    if replaced:
        target.rename(backup)
    try:
        folder.rename(target)
    except OSError:
        if replaced:
            backup.rename(target)
        raise


class Export:
    """Writes and verifies the export of a checkpoint.

    Args:
        run_dir: Folder of the run.
        path: Path of the checkpoint.
        work: Temporary folder. The export is written to ``folder`` inside it.
        dtype: Data type of the weights.
        trust_remote_code: Whether to run code that comes with the backbone.
    """

    def __init__(self, run_dir: Path, path: Path, work: Path, dtype: Dtype, trust_remote_code: bool = False) -> None:
        self.run_dir, self.folder, self.exchange, self.dtype = run_dir, work / "folder", work / "exchange", dtype
        self.stored = read_checkpoint(path)
        self.task: TaskModule = load_task(path, trust_remote_code).eval()
        self.data, self.trust_remote_code = stored_data(path, trust_remote_code), trust_remote_code

    def write(self, adapter_only: bool) -> tuple[Kind, float]:
        """Write and verify the folder.

        Returns:
            The kind of folder, and the largest relative difference of its outputs.

        Raises:
            UserError: If the tuning method does not support the export, or the outputs differ too much.
        """
        if adapter_only:
            check_adapter(self.task)
        kind = self._kind(adapter_only)
        expected = reference_outputs(self.task, self.data, kind)
        self.folder.mkdir()
        if adapter_only:
            save_adapter(self.task, self.folder)
        else:
            scale = exported_scale(self.task)
            apply_scale(self.task, *scale)
            expected = expected.scaled(*scale)
            save_merged(self.task, self.folder, self.dtype, kind, getattr(self.data, "marker_ids", None))
        save_separate_weights(self.task, kind, self.folder)
        save_tokenizer(self.task, self.data, self.folder, kind)
        self._write_metadata(kind, scaled=not adapter_only and exported_scale(self.task) != (0.0, 1.0))
        for file in self.folder.rglob("*.safetensors"):  # safetensors makes them readable by their owner only
            shutil.copymode(self.folder / METADATA_FILE, file)
        differences = (
            verify_folder(expected, self.task, kind, self.folder, self.exchange, self.dtype),
            verify_loaded(expected, *open_exported(self.folder, self.trust_remote_code), self.dtype),
        )
        self._add_metadata(difference=max(differences))
        return kind, max(differences)

    def _kind(self, adapter_only: bool) -> Kind:
        if adapter_only:
            return "adapter"
        standard = isinstance(self.task.model, PreTrainedModel) or self.task.model is self.task.backbone
        return "model" if standard else "own_head" if has_own_head(self.task) else "backbone"

    def _write_metadata(self, kind: Kind, scaled: bool) -> None:
        """Write the arguments for loading the folder, the model card, and the config of the run."""
        arguments = export_arguments(self.stored, kind, self.data, scaled)
        if kind == "adapter" and self.task.tuning.modifies_base_weights:
            arguments["task"]["tuning"] = plain(self.task.tuning.as_exported())
        self._add_metadata(kind=kind, **arguments, dtype=self.dtype, versions=versions(), run=self.run_dir.resolve().name)
        record = RunFolder(self.run_dir).record
        self._add_metadata(**{name: record.get(name) for name in ("revision", "commit", "data_commit")})
        (self.folder / "README.md").write_text(model_card(self.run_dir, self.task, kind, self.dtype, scaled), encoding="utf-8")
        config = hidden(RunFolder(self.run_dir).config)
        (self.folder / RUN_CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def _add_metadata(self, **facts: Any) -> None:
        path = self.folder / METADATA_FILE
        text = json.dumps({**read_json(path), **facts}, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

"""Export a finished run as a Hugging Face folder, and verify that its outputs are those of the run."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import PreTrainedModel

from ftlit.errors import UserError
from ftlit.exports.adapters import check_adapter, save_adapter
from ftlit.exports.card.card import CARD, RUN_CONFIG, model_card
from ftlit.exports.card.subject import Subject
from ftlit.exports.folder import (
    export_arguments,
    open_exported,
    save_separate_weights,
    stored_data,
)
from ftlit.exports.forms import FORMS
from ftlit.exports.merge import save_merged, save_tokenizer
from ftlit.exports.own_head import apply_scale, exported_scale, has_own_head
from ftlit.exports.predicting.calibrated import IN_FOLDER, run_calibration, told_of_export
from ftlit.exports.target import check_target, made_whole
from ftlit.exports.verify import reference_outputs, verify_folder, verify_loaded
from ftlit.runs.checkpoint import find_checkpoint, load_task, read_checkpoint
from ftlit.runs.exported import METADATA_FILE, Kind, is_exported
from ftlit.runs.files import BEST
from ftlit.runs.reading import RunFolder
from ftlit.runs.record import versions
from ftlit.runs.secrets import hidden
from ftlit.tasks import TaskModule
from ftlit.util.arguments.plain import plain
from ftlit.util.files import read_json
from ftlit.util.startup import quiet
from ftlit.util.trust import check_source, import_trusted

Dtype = Literal["float32", "bfloat16", "float16", "q8_0"]
Format = Literal["transformers", "onnx", "gguf", "torch"]
TRACED = ("onnx", "torch")  # formats that have one data type
KIND_DESCRIPTIONS: dict[Kind, str] = {
    "model": "the model",
    "own_head": "the model, with the code of its head",
    "backbone": "the backbone, with the head in a separate file",
    "adapter": "the adapter, with the head in a separate file",
    "onnx": "the graph of ONNX",
    "int8": "the model with weights of 8 bits",
    "gguf": "the model in GGUF",
    "torch": "the program of torch.export",
}


def export(
    run: str,
    output: str,
    adapter_only: bool = False,
    checkpoint: str = "best",
    dtype: Dtype = "float32",
    overwrite: bool = False,
    format: Format = "transformers",
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
    calibrated: bool = True,
) -> None:
    """Export a finished run as a folder that needs no ftlit. Its outputs are compared with the run in a process without ftlit.

    Args:
        run: Folder of the run.
        output: Folder to write.
        adapter_only: Whether to write the peft adapter and the head instead of the model with merged weights.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        dtype: Data type of the written weights: `float32`, `bfloat16` or `float16`; or, in GGUF, `q8_0` for blocks of 8 bits.
        overwrite: Whether to replace an earlier export in the output folder.
        format: `transformers` for a Hugging Face folder, `onnx` for graphs that ONNX Runtime runs without PyTorch, `gguf` for
            a language model that llama.cpp runs, or `torch` for a program that PyTorch runs without transformers.
        trust_remote_code: Whether to run code that comes with the backbone. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.
        calibrated: Whether to export the calibration of the run too, if `ftlit calibrate` made one.

    Raises:
        UserError: If the run is not finished, its tuning method does not support the export, or the outputs differ.
    """
    quiet()
    run_dir, target = Path(run).expanduser(), Path(output).expanduser()
    path = find_checkpoint(run_dir, checkpoint)
    check_finished(run_dir)
    check_target(target, overwrite, is_exported, "export")
    _check_format(format, adapter_only, dtype)
    check_names_of(path, trust_classes)
    with made_whole(target) as work:
        exporting = Export(run_dir, path, work, dtype, trust_remote_code, calibrated)
        kind, difference = exporting.write(adapter_only, format)
    written = f"wrote {KIND_DESCRIPTIONS[kind]} to {target}"
    print(f"{written}; its outputs differ from the run's by {difference:.1e} of the largest value")
    if told := told_of_export(exporting.calibration, exporting.folded):
        print(f"note: {told}")


def _check_format(format: Format, adapter_only: bool, dtype: Dtype) -> None:
    if adapter_only and dtype != "float32":
        raise UserError(f"--dtype {dtype} applies to merged weights only; an adapter is saved in float32")
    if format != "transformers" and adapter_only:
        raise UserError(f"--format {format} writes the whole model, but --adapter-only its adapter alone; remove one of them")
    if format in TRACED and dtype != "float32":
        name = "a graph of ONNX" if format == "onnx" else "a program of torch.export"
        raise UserError(f"--dtype {dtype} is for --format transformers; {name} is written in float32")
    if dtype == "q8_0" and format != "gguf":
        raise UserError("--dtype q8_0 is for --format gguf; use float32, bfloat16 or float16")


def check_finished(run_dir: Path) -> None:
    """Check that a run has finished.

    Raises:
        UserError: It has not.
    """
    run = RunFolder(run_dir)
    if not run.finished:
        raise UserError(
            f"--run {str(run_dir)!r} is not finished: run.json says {run.status or 'nothing'}; finish it with "
            f"`python -m ftlit fit --resume --run_dir {run_dir}`"
        )


def check_names_of(checkpoint: Path, trust_classes: list[str] | str | None) -> None:
    """Import the classes that the user trusts, and check that a checkpoint's data do not come from another function.

    Raises:
        UserError: They do, or a class cannot be imported.
    """
    import_trusted(trust_classes)
    check_source(str(read_checkpoint(checkpoint).get("datamodule_hyper_parameters", {}).get("dataset")), trust_classes)


def is_best(run_dir: Path, checkpoint: Path) -> bool:
    """Whether a checkpoint is the best of a run, of which its results are."""
    return checkpoint.resolve() == (run_dir / BEST).resolve()


class Export:
    """Writes and verifies the export of a checkpoint.

    Args:
        run_dir: Folder of the run.
        path: Path of the checkpoint.
        work: Temporary folder. The export is written to ``folder`` inside it.
        dtype: Data type of the weights.
        trust_remote_code: Whether to run code that comes with the backbone.
        calibrated: Whether the calibration of the run belongs to the export.
    """

    def __init__(
        self, run_dir: Path, path: Path, work: Path, dtype: Dtype, trust_remote_code: bool = False, calibrated: bool = True
    ) -> None:
        self.run_dir, self.folder, self.exchange, self.dtype = run_dir, work / "folder", work / "exchange", dtype
        self.stored, self.best = read_checkpoint(path), is_best(run_dir, path)
        self.task: TaskModule = load_task(path, trust_remote_code).eval()
        self.data, self.trust_remote_code = stored_data(path, trust_remote_code), trust_remote_code
        self.calibration = run_calibration(run_dir, path) if calibrated else None
        self.folded = False

    def write(self, adapter_only: bool, format: Format = "transformers", fold: bool = True) -> tuple[Kind, float]:
        """Write and verify the folder.

        Args:
            adapter_only: Whether to write the adapter alone.
            format: What to write otherwise.
            fold: Whether the last layer divides the logits by the temperature of a calibration, if it can.

        Returns:
            The kind of folder, and the largest relative difference of its outputs.

        Raises:
            UserError: If the tuning method does not support the export, or the outputs differ too much.
        """
        kind: Kind = "adapter" if adapter_only else self._kind() if format == "transformers" else format
        expected: Any = self._checked_reference(kind)
        scale = self._scale(kind, fold)
        apply_scale(self.task, *scale)
        expected = expected.scaled(*scale)
        self.folder.mkdir()
        self._save(kind, expected)
        save_separate_weights(self.task, kind, self.folder)
        save_tokenizer(self.task, self.data, self.folder, kind)
        self._write_metadata(kind, scale != (0.0, 1.0) and not self.folded, expected)
        for file in self.folder.rglob("*.safetensors"):  # safetensors makes them readable by their owner only
            shutil.copymode(self.folder / METADATA_FILE, file)
        difference = self._verify(kind, expected)
        self._add_metadata(difference=difference)
        return kind, difference

    def _scale(self, kind: Kind, fold: bool) -> tuple[float, float]:
        """What the logits of the export are, as `exported_scale` says."""
        if kind == "adapter":
            return 0.0, 1.0
        temperature = self.calibration.scores.temperature if self.calibration and fold and kind != "backbone" else 1.0
        scale = exported_scale(self.task, temperature)
        self.folded = temperature != 1 and scale != (0.0, 1.0)
        return scale

    def _checked_reference(self, kind: Kind) -> Any:
        """Compute the outputs of the run, after checking that its tuning method supports the export."""
        if kind in FORMS:
            return FORMS[kind].reference(self.task, self.data)
        if kind == "adapter":
            check_adapter(self.task)
        return reference_outputs(self.task, self.data, kind)

    def _save(self, kind: Kind, expected: Any) -> None:
        if kind == "adapter":
            save_adapter(self.task, self.folder)
        elif kind in FORMS:
            FORMS[kind].save(self.task, self.data, expected, self.folder, self.dtype)
        else:
            save_merged(self.task, self.folder, self.dtype, kind, getattr(self.data, "marker_ids", None))

    def _verify(self, kind: Kind, expected: Any) -> float:
        """Return the largest difference to the run, in a new process and in this one."""
        if kind in FORMS:
            opened = partial(open_exported, self.folder, self.trust_remote_code)
            return FORMS[kind].check(expected, self.task, self.data, self.folder, self.exchange, self.dtype, opened)
        apart = verify_folder(expected, self.task, kind, self.folder, self.exchange, self.dtype)
        return max(apart, verify_loaded(expected, *open_exported(self.folder, self.trust_remote_code), self.dtype))

    def _kind(self) -> Kind:
        standard = isinstance(self.task.model, PreTrainedModel) or self.task.model is self.task.backbone
        return "model" if standard else "own_head" if has_own_head(self.task) else "backbone"

    def _write_metadata(self, kind: Kind, scaled: bool, expected: Any) -> None:
        """Write the arguments for loading the folder, the model card, and the config of the run."""
        arguments = export_arguments(self.stored, kind, self.data, scaled)
        if kind == "adapter" and self.task.tuning.modifies_base_weights:
            arguments["task"]["tuning"] = plain(self.task.tuning.as_exported())
        self._add_metadata(kind=kind, **arguments, dtype=self.dtype, versions=versions(), run=self.run_dir.resolve().name)
        if self.calibration:
            own = self.calibration.without_temperature() if self.folded else self.calibration
            self._add_metadata(**{IN_FOLDER: own.record})
        record = RunFolder(self.run_dir).record
        self._add_metadata(**{name: record.get(name) for name in ("revision", "commit", "data_commit")})
        use = FORMS[kind].use(self.task, self.data, expected, self.folder, scaled) if kind in FORMS else None
        told = told_of_export(self.calibration, self.folded)
        subject = Subject(self.run_dir, self.task, self.data, kind, self.dtype, scaled, use, self.best, told)
        (self.folder / CARD).write_text(model_card(subject), encoding="utf-8")
        config = hidden(RunFolder(self.run_dir).config)
        (self.folder / RUN_CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def _add_metadata(self, **facts: Any) -> None:
        path = self.folder / METADATA_FILE
        text = json.dumps({**read_json(path), **facts}, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

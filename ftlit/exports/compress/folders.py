"""Make the folder of each method from a run: `ftlit.load` opens it, and `ftlit predict` and `ftlit serve` do."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftlit.errors import UserError
from ftlit.exports.card.card import CARD, model_card
from ftlit.exports.card.subject import Subject
from ftlit.exports.compress.graphs import round_to_4_bits
from ftlit.exports.compress.int8 import save_int8
from ftlit.exports.compress.methods import METHODS
from ftlit.exports.compress.processor import computes_in
from ftlit.exports.export import Dtype, Export, Format, is_best
from ftlit.exports.folder import COMPUTES, open_exported, save_separate_weights
from ftlit.runs.exported import METADATA_FILE
from ftlit.tasks import CausalLM, Seq2Seq, TaskModule
from ftlit.util.files import read_json

HALF: dict[str, Dtype] = {"bf16": "bfloat16", "fp16": "float16"}


@dataclass
class Folders:
    """Makes the folders of methods; what several methods begin with is exported once.

    Args:
        run_dir: Folder of the run.
        checkpoint: Path of the checkpoint.
        work: Temporary folder.
        trust_remote_code: Whether to run code that comes with the backbone.
    """

    run_dir: Path
    checkpoint: Path
    work: Path
    trust_remote_code: bool = False
    exported: dict[tuple[Format, Dtype], Path] = field(default_factory=dict)

    def make(self, method: str, round_graph: Callable[[Path, Path], None]) -> Path:
        """Make the folder of a method.

        Args:
            method: Name of the method.
            round_graph: For `onnx-int8`, writes the graph of a folder to another folder with weights of 8 bits.

        Raises:
            UserError: The run cannot take this form.
        """
        target = self.work / "made" / method
        base = self._base(method)
        if method == "int8":
            self._save_int8(base, target)
            return target
        shutil.copytree(base, target)
        if method == "onnx-int4":
            round_to_4_bits(base, target)
        if method == "onnx-int8":
            round_graph(base, target)
        if method in HALF and computes_in(HALF[method]):
            _change_metadata(target, **{COMPUTES: HALF[method]})
        self._describe(target, method)
        return target

    def _base(self, method: str) -> Path:
        """Export the run in the form with which a method begins."""
        key: tuple[Format, Dtype] = ("transformers", HALF.get(method, "float32"))
        key = ("onnx", "float32") if METHODS[method].onnx else key
        if key not in self.exported:
            place = self.work / "-".join(key)
            place.mkdir()
            export = Export(self.run_dir, self.checkpoint, place, key[1], self.trust_remote_code)
            try:
                _check_graph(export.task, key[0])
                export.write(adapter_only=False, format=key[0], fold=False)  # so that its loss is that of the run
            except UserError as error:
                fact = str(error).partition("; ")[0].removeprefix("--format onnx: ")
                raise UserError(f"--method {method} cannot be made: {fact}; choose another method") from error
            self.exported[key] = place / "folder"
        return self.exported[key]

    def _save_int8(self, base: Path, target: Path) -> None:
        task, data = open_exported(base, self.trust_remote_code)
        shutil.copytree(base, target, ignore=shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json"))
        save_int8(task.model, target)
        save_separate_weights(task, "int8", target)
        arguments = read_json(target / METADATA_FILE)["task"]
        _change_metadata(target, kind="int8", dtype="int8", task={**arguments, "pretrained": False})
        subject = Subject(self.run_dir, task, data, "int8", "int8", best=is_best(self.run_dir, self.checkpoint))
        (target / CARD).write_text(model_card(subject), encoding="utf-8")

    def _describe(self, folder: Path, method: str) -> None:
        """Write the type of the weights into the metadata and the model card, which are those of the export."""
        bits, card = METHODS[method].bits, folder / CARD
        _change_metadata(folder, dtype=bits)
        text = re.sub(r"(?m)^(\| weights +\| )float32", lambda found: f"{found[1]}{bits:<7}", card.read_text("utf-8"), count=1)
        card.write_text(text, encoding="utf-8")


def _check_graph(task: TaskModule, format: Format) -> None:
    if format == "onnx" and isinstance(task, CausalLM | Seq2Seq):
        raise UserError(f"{type(task).__name__} writes texts token by token, and graphs that do are not compressed")


def _change_metadata(folder: Path, **facts: Any) -> None:
    path = folder / METADATA_FILE
    text = json.dumps({**read_json(path), **facts}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

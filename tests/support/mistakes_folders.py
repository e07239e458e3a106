"""Damaged run folders, exported folders, backbones and studies: every file missing, empty, cut or of another kind."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftlit.__main__ import main
from ftlit.exports import verify, verify_script
from ftlit.runs.files import BEST, CONFIG, LAST, METRICS, RECORD, RESULTS
from tests.support.command_line import arguments
from tests.support.data import sentiment_splits, write_splits
from tests.support.models import tiny_model
from tests.support.runs import fitted
from tests.support.study.synthetic import made

PREDICTIONS = "predictions/test.jsonl"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
FOREIGN = {".json": '{"a": 1}\n', ".yaml": "a: 1\n", ".csv": "x,y\n1,2\n", ".jsonl": '{"a": 1}\n', ".ckpt": POINTER}


@dataclass(frozen=True)
class Whole:
    """Folders that are in order.

    Args:
        run: A finished run.
        exported: Its export.
        study: A study that has finished, beside its file.
        backbone: The folder of a model.
        data: The folder of a data set.
    """

    run: Path
    exported: Path
    study: Path
    backbone: Path
    data: str


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])


def foreign(path: Path) -> None:
    path.write_text(FOREIGN.get(path.suffix, POINTER))


def pointer(path: Path) -> None:
    path.write_text(POINTER)


ALL = (missing, empty, cut, foreign)
BROKEN = (empty, cut, foreign)
Damage = Callable[[Path], None]

# What is asked of a damaged run R beside another one W, and where new files would go (N).
RESUME, OVERWRITE = "fit --resume --run_dir R", "fit --config W/config.yaml --run_dir R --overwrite"
DIFF, PREDICT, EXPORT = "diff R W", "predict --run R --input I --output N/new.jsonl", "export --run R --output N"
TEST, VALIDATE = "test --config W/config.yaml --run_dir R", "validate --config W/config.yaml --run_dir R"
INIT_FROM = "fit --config W/config.yaml --run_dir N --model.init_from R"
CONTINUE = f"fit --config W/config.yaml --run_dir N --trainer.max_epochs 2 --ckpt_path R/{LAST}"
OF_RUNS: tuple[tuple[str, tuple[Damage, ...], tuple[str, ...]], ...] = (
    (CONFIG, ALL, (RESUME, "test --config R/config.yaml", "fit --config R/config.yaml --run_dir N")),
    (CONFIG, (missing, empty), (DIFF, f"validate --config R/{CONFIG}")),
    (RECORD, ALL, (RESUME, OVERWRITE, DIFF)),
    (RECORD, BROKEN, (TEST, PREDICT, EXPORT, INIT_FROM)),
    (RESULTS, BROKEN, (DIFF, TEST)),
    (METRICS, ALL, (RESUME,)),
    (BEST, ALL, (TEST, VALIDATE, PREDICT, EXPORT)),
    (BEST, BROKEN, (INIT_FROM,)),
    (LAST, ALL, (RESUME, CONTINUE, "predict --run R --checkpoint last --input I --output N/new.jsonl")),
    (PREDICTIONS, BROKEN, (DIFF,)),
)
OF_MODELS = (("config.json", ALL), ("model.safetensors", (*BROKEN, missing)), ("tokenizer.json", (*BROKEN, pointer)))
OF_STUDIES = ((RECORD, BROKEN), (RESULTS, BROKEN), (METRICS, BROKEN), (PREDICTIONS, BROKEN))


def cases(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What is wrong, and the arguments of a command that must refuse it.

    Args:
        folder: An empty folder for all files.
    """
    whole = whole_folders(folder / "whole")
    texts = folder / "texts.txt"
    texts.write_text("good\n")
    for name, damages, commands in OF_RUNS:
        for damage in damages:
            for command in commands:
                run = damaged_copy(whole.run, folder, name, damage)
                names = {"R": run, "W": whole.run, "I": texts, "N": folder / "new"}
                yield f"{name} {damage.__name__}: {command}", filled(command, names)
    for name, damages in (*OF_MODELS, ("ftlit.json", ALL)):
        for damage in damages:
            exported = damaged_copy(whole.exported, folder, name, damage)
            yield f"exported {name} {damage.__name__}", filled(PREDICT, {"R": exported, "I": texts, "N": folder / "new"})
    for name, damages in OF_MODELS:
        for damage in damages:
            backbone = damaged_copy(whole.backbone, folder, name, damage)
            yield f"backbone {name} {damage.__name__}", fit(folder / "new", backbone, whole.data)
    for name, damages in OF_STUDIES:
        for damage in damages:
            study = damaged_study(whole.study, folder, name, damage)
            yield f"cell {name} {damage.__name__}", ["study", "report", str(study / "made.yaml"), "--folder", f"{study}/study"]
    yield from foreign_folders(folder, whole)


def foreign_folders(folder: Path, whole: Whole) -> Iterator[tuple[str, list[str]]]:
    """Run folders that hold files of their own, or are none."""
    for name in (CONFIG, RECORD, RESULTS, "predictions/mine.txt", "checkpoints/mine.bin"):
        own = numbered(folder)
        (own / name).parent.mkdir(parents=True)
        (own / name).write_text('{"a": 1}')
        for flag in ("--overwrite", "--resume"):
            yield f"own {name} {flag}", [*fit(own, whole.backbone, whole.data), flag]
    yield "empty run_dir", [*fit(Path(), whole.backbone, whole.data), "--run_dir", "", "--overwrite"]
    for place in ("texts.txt", "texts.txt/run"):
        yield f"run_dir {place}", fit(folder / place, whole.backbone, whole.data)


def whole_folders(folder: Path) -> Whole:
    """Make the folders that are in order: a small model, a run, its export and a study."""
    folder.mkdir(parents=True)
    backbone = Path(tiny_model(folder / "bert"))
    data = write_splits(folder / "data", sentiment_splits())
    run = fitted(
        folder / "run", "TextClassification", model__backbone=backbone, data__dataset=data, test_after_fit="true",
        trainer__logger="false",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        patch.setattr(verify, "run_in_new_process", verify_script.main)
        main(["export", "--run", str(run), "--output", str(folder / "exported")])
    made(folder / "study", examples=20, seeds=[0], select=None)
    return Whole(run, folder / "exported", folder / "study", backbone, data)


def fit(run_dir: Path, backbone: Path, data: str) -> list[str]:
    """Arguments that train a model."""
    task = ("TextClassification", "TextClassificationData")
    return arguments("fit", *task, model__backbone=backbone, data__dataset=data, run_dir=run_dir)


def filled(command: str, names: dict[str, Path]) -> list[str]:
    """The arguments of a command with the paths that its capital letters stand for."""
    parts = (part.partition("/") for part in command.split())
    return [f"{names.get(first, first)}{slash}{rest}" for first, slash, rest in parts]


def numbered(folder: Path) -> Path:
    """A folder of its own for each case."""
    return folder / f"case-{sum(1 for path in folder.iterdir() if path.name.startswith('case-')):03d}"


def damaged_copy(whole: Path, folder: Path, name: str, damage: Damage) -> Path:
    """A copy of a folder of which one file is damaged."""
    copy = Path(shutil.copytree(whole, numbered(folder)))
    damage(copy / name)
    return copy


def damaged_study(whole: Path, folder: Path, name: str, damage: Damage) -> Path:
    """A copy of a study of which a file of its last cell is damaged."""
    copy = Path(shutil.copytree(whole, numbered(folder)))
    finals = [path for path in sorted((copy / "study/cells").iterdir()) if (path / PREDICTIONS).is_file()]
    record = json.loads((finals[-1] / RECORD).read_text())
    assert record["status"] == "completed"
    damage(finals[-1] / name)
    return copy

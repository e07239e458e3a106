"""The command that makes smaller and faster forms of a run, measures them, and keeps those that are good enough."""

import random
import shutil
from pathlib import Path
from typing import Any

import torch

from ftlit.errors import UserError
from ftlit.exports.card.card import CARD, with_measurements
from ftlit.exports.card.subject import Subject
from ftlit.exports.compress.evaluate import Judge, agreement, evaluate, fits
from ftlit.exports.compress.fallback import CarefulRounding
from ftlit.exports.compress.folders import Folders, size_of
from ftlit.exports.compress.measure import SIZES, measure
from ftlit.exports.compress.methods import METHODS, ORIGINAL, chosen_methods, training_text
from ftlit.exports.compress.processor import instructions
from ftlit.exports.compress.report import PAGE, RECORD, SUMMARY, Ladder, card_section, document, text
from ftlit.exports.compress.rungs import rungs
from ftlit.exports.compress.worker import Task
from ftlit.exports.export import check_finished, check_names_of, is_best
from ftlit.exports.folder import open_exported, stored_data
from ftlit.exports.target import check_target, made_whole
from ftlit.exports.traced.cases import reference_cases
from ftlit.runs.checkpoint import find_checkpoint, load_task
from ftlit.runs.exported import read_metadata
from ftlit.runs.reading import RunFolder
from ftlit.runs.record import hardware, versions
from ftlit.util.arguments.ranges import COUNT, NOT_NEGATIVE, Range
from ftlit.util.files import write_json, write_text
from ftlit.util.startup import quiet

SPLITS = ("test", "validation")
POOR = 0.9  # share of the original's answers below which layers go back to float32, whatever the metric says
NUMBERS = {"max_drop": NOT_NEGATIVE, "rows": Range(least=max(SIZES), whole=True), "threads": COUNT}
SEED = 0  # of the choice of rows to time


def compress(
    run: str,
    method: list[str],
    output: str | None = None,
    max_drop: float | None = 0.01,
    split: str | None = None,
    rows: int = 512,
    threads: int | None = None,
    checkpoint: str = "best",
    overwrite: bool = False,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Make smaller and faster forms of a finished run for CPUs, measure them beside it, and keep those that are good enough.

    Args:
        run: Folder of the run.
        method: `onnx`, `onnx-int8`, `onnx-int4`, `bf16`, `fp16` or `int8`; give the option several times to compare several.
            `distil` and `drop-layers` print the command that trains a smaller model.
        output: Folder to write: the report, and a folder for each method. Defaults to the name of the run with `-compressed`.
        max_drop: By how much the metric of the run may become worse; for metrics that are no shares or correlations, as a
            share of their value. null refuses nothing.
        split: `test` or `validation`, on which the forms are compared. Defaults to test if the run was evaluated on it.
        rows: Number of rows that are timed.
        threads: Number of threads. Defaults to the number of cores.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        overwrite: Whether to replace an earlier compression in the output folder.
        trust_remote_code: Whether to run code that comes with the backbone. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Raises:
        UserError: An option is wrong, the run cannot take a form, or no form is good enough.
    """
    names = chosen_methods(method)
    quiet()
    folder = Path(run).expanduser()
    RunFolder(folder).check()
    check_finished(folder)
    for name in (name for name in names if name not in METHODS):
        print(training_text(name, folder))
    if not (made := [name for name in names if name in METHODS]):
        return
    _check_numbers(max_drop=max_drop, rows=rows, threads=threads)
    target = Path(output).expanduser() if output else folder.with_name(f"{folder.resolve().name}-compressed")
    check_target(target, overwrite, lambda folder: (folder / PAGE).is_file(), "compression")
    path = find_checkpoint(folder, checkpoint)
    check_names_of(path, trust_classes)
    trusted = (trust_remote_code, [trust_classes] if isinstance(trust_classes, str) else trust_classes)
    with made_whole(target) as work:
        compression = Compression(
            folder, path, work, _split(folder, split), threads or torch.get_num_threads(), max_drop, trusted
        )
        ladder = compression.measured(made, rows)
        print(text(ladder))
        compression.keep(ladder)
    print(f"\nwrote {target}: {PAGE}, and a folder for each form that passes")


def _check_numbers(**given: float | None) -> None:
    """Check the options that are numbers.

    Raises:
        UserError: One is out of range.
    """
    for name, value in given.items():
        if value is not None and not NUMBERS[name].accepts(value):
            raise UserError(f"--{name} must be {NUMBERS[name]}, got {value!r}")


def _split(run: Path, given: str | None) -> str:
    """The split on which forms are compared."""
    if given is not None and given not in SPLITS:
        raise UserError(f"--split must be test or validation, got {given!r}")
    return given or ("test" if "test" in RunFolder(run).results else "validation")


class Compression:
    """Makes and measures the forms of a run.

    Args:
        run_dir: Folder of the run.
        checkpoint: Path of the checkpoint.
        work: Temporary folder. What is kept is written to ``folder`` inside it.
        split: The split on which forms are compared.
        threads: Number of threads of a form.
        max_drop: The largest loss that passes; None if all do.
        trusted: Whether to run code that comes with the backbone, and import paths of classes outside ftlit.
    """

    def __init__(
        self, run_dir: Path, checkpoint: Path, work: Path, split: str, threads: int, max_drop: float | None,
        trusted: tuple[bool, list[str] | None],
    ) -> None:  # fmt: skip
        self.run_dir, self.checkpoint, self.work, self.max_drop = run_dir, checkpoint, work, max_drop
        self.split, self.threads, self.trusted = split, threads, trusted
        self.kept: list[str] = []

    def measured(self, methods: list[str], rows: int) -> Ladder:
        """Make the forms, and measure them beside the run.

        Args:
            methods: Names of the forms.
            rows: Number of rows to time.

        Raises:
            UserError: The run cannot take a form, or its data cannot be read.
        """
        task, data = load_task(self.checkpoint, self.trusted[0]).eval(), stored_data(self.checkpoint, self.trusted[0])
        data.require([self.split])
        self.judge, self.task, self.data = Judge.of(task), task, data
        sizes = {ORIGINAL: sum(weight.nbytes for weight in task.model.state_dict().values())}
        timed = _rows(data, self.split, rows)
        places = {ORIGINAL: self.run_dir}
        maker = Folders(self.run_dir, self.checkpoint, self.work, self.trusted[0])
        for name in methods:
            print(f"making {name}", flush=True)
            places[name] = maker.make(name, lambda base, made: self._round(task, data, base, made))
            sizes[name] = size_of(places[name])
        print(f"measuring {len(places)} models in turns", flush=True)
        shared = Task("", str(self.checkpoint), self.split, str(self.work / "measured"), self.threads, *self.trusted)
        found = measure(places, shared, timed)
        examples = len(found[ORIGINAL].evaluated.rows)
        machine = {**hardware(), "threads": self.threads, "instructions": instructions()}
        rated = rungs(found, sizes, self.judge, self.max_drop, self.kept)
        return Ladder(
            self.run_dir.resolve().name, type(task).__name__, self.judge.metric, self.judge.higher, self.split, examples,
            len(timed), self.max_drop, machine, versions(), rated,
        )  # fmt: skip

    def _round(self, task: Any, data: Any, base: Path, made: Path) -> None:
        """Round a graph to 8 bits, with layers in float32 where validation asks for them."""
        before = evaluate(task, data, "validation", self.work / "before")

        def is_good(folder: Path) -> bool:
            after = evaluate(open_exported(folder, self.trusted[0])[0], data, "validation", self.work / "after")
            same = agreement(self.judge.kind, before.rows, after.rows)
            return fits(self.judge.loss(before, after), self.max_drop) and (same is None or same >= POOR)

        rounding = CarefulRounding(is_good, reference_cases(task, data).inputs[0])
        rounding(base, made)
        self.kept = rounding.kept

    def keep(self, ladder: Ladder) -> None:
        """Put the forms that pass and the report into the folder to keep.

        Raises:
            UserError: None passes.
        """
        from ftlit.util.render.markdown import markdown
        from ftlit.util.render.page import page

        passing = [rung.method for rung in ladder.rungs if rung.passes and rung.method != ORIGINAL]
        if not passing:
            lost = ", ".join(f"{rung.method} loses {rung.loss:.4f}" for rung in ladder.rungs[1:])
            raise UserError(
                f"no form loses at most {self.max_drop:g} of {ladder.metric}: {lost}; raise --max_drop, or add another "
                "--method; nothing was written"
            )
        folder, report = self.work / "folder", document(ladder)
        for name in passing:
            shutil.move(self.work / "made" / name, folder / name)
            self._complete_card(folder / name, ladder, name)
            write_json(folder / name / RECORD, ladder.record([name]))
        for name, content in {PAGE: page(report), SUMMARY: markdown(report)}.items():
            write_text(folder / name, content)
        write_json(folder / RECORD, ladder.record())

    def _complete_card(self, folder: Path, ladder: Ladder, name: str) -> None:
        """Put what was measured of a form into its model card."""
        about, card = read_metadata(folder), folder / CARD
        best = is_best(self.run_dir, self.checkpoint)
        subject = Subject(self.run_dir, self.task, self.data, about["kind"], about["dtype"], best=best)
        metrics = next(rung.measured.evaluated.metrics for rung in ladder.rungs if rung.method == name)
        text = with_measurements(card.read_text("utf-8"), subject, ladder.split, metrics, card_section(ladder, name))
        card.write_text(text, encoding="utf-8")


def _rows(data: Any, split: str, count: int) -> list[dict[str, Any]]:
    """Rows of a split to time, drawn at random; they repeat if the split has fewer."""
    rows = data.rows[split]
    names = [name for name in (data.input_columns() | data.optional_columns()).values() if name in rows.column_names]
    places = list(range(len(rows)))
    random.Random(SEED).shuffle(places)
    chosen = rows.select(places[:count])
    some = [{name: row[name] for name in names} for row in chosen]
    return [some[i % len(some)] for i in range(count)]

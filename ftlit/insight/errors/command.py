"""The command that shows where a run fails."""

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.export import check_names_of
from ftlit.exports.folder import stored_data
from ftlit.insight.errors.analysis import Analysis, analyse
from ftlit.insight.errors.examples.reading import CHUNK
from ftlit.insight.errors.report import LABEL_ERRORS, SLICES, document, numbers, text
from ftlit.insight.errors.slices.table import with_sign
from ftlit.insight.report import report_folder, write_report
from ftlit.metrics.evidence.rows import input_text
from ftlit.runs.checkpoint import find_checkpoint
from ftlit.runs.reading import RunFolder
from ftlit.util.arguments.ranges import SEED, Range
from ftlit.util.startup import quiet

NAME = "errors"
SPLITS = ("test", "validation")
NUMBERS = {"predicates": Range(least=1, most=3, whole=True), "seed": SEED}


def errors(
    run: list[str],
    split: str | None = None,
    output: str | None = None,
    predicates: int = 3,
    seed: int = 0,
    checkpoint: str = "best",
    overwrite: bool = False,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Show where a run fails: slices of the data, confusions with their examples, and labels that are probably wrong.

    Args:
        run: Folder of the run. Given several times, the predictions of runs with other seeds are averaged, and those of folds
            are joined.
        split: `test` or `validation`. Defaults to test if the run was evaluated on it.
        output: Folder to write. Defaults to `insight/errors` in the folder of the (first) run.
        predicates: Largest number of conditions of a slice that is searched for, from 1 to 3.
        seed: Seed of the halves of the data: one is searched, and the other confirms what was found.
        checkpoint: `best`, `last`, or the path of a checkpoint, which names the data.
        overwrite: Whether to replace an earlier report in the output folder.
        trust_remote_code: Whether to run code that comes with the backbone. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Raises:
        UserError: An option is wrong, or the run has no predictions of the split.
    """
    quiet()
    folder = RunFolder(Path(run[0]).expanduser())
    chosen = _checked([RunFolder(Path(one).expanduser()) for one in run], split, predicates, seed)
    with report_folder(folder.folder, NAME, output, overwrite) as place:
        found = analyse_errors(run, chosen, predicates, seed, checkpoint, trust_remote_code, trust_classes)
        write(place, found)
        print(text(found))


def analyse_errors(
    run: str | Path | Sequence[str | Path],
    split: str | None = None,
    predicates: int = 3,
    seed: int = 0,
    checkpoint: str = "best",
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> Analysis:
    """Find where a run fails, without writing a report.

    Args:
        run: Folder of the run, or those of several.
        split: `test` or `validation`. Defaults to test if the run was evaluated on it.
        predicates: Largest number of conditions of a slice that is searched for, from 1 to 3.
        seed: Seed of the halves of the data: one is searched, and the other confirms what was found.
        checkpoint: `best`, `last`, or the path of a checkpoint, which names the data.
        trust_remote_code: Whether to run code that comes with the backbone. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name.

    Returns:
        What is found. ``slices``, ``found`` and ``suspected`` are data frames: of the slices by one property, of those that
        were searched for, and of labels that are probably wrong.

    Raises:
        UserError: An option is wrong, or the run has no predictions of the split.
    """
    given = [run] if isinstance(run, str | Path) else run
    runs = [RunFolder(Path(one).expanduser()) for one in given]
    chosen = _checked(runs, split, predicates, seed)
    data, notes = _data(runs[0], chosen, checkpoint, trust_remote_code, trust_classes)
    return analyse(runs, chosen, data, predicates, seed, notes)


def _checked(runs: Sequence[RunFolder], split: str | None, predicates: int, seed: int) -> str:
    """The split whose predictions are read, after a check of all options.

    Raises:
        UserError: SciPy is missing, an option is out of range, or a folder has no such predictions.
    """
    if find_spec("scipy") is None:
        raise UserError("ftlit errors needs SciPy; install it with: pip install -e '.[insight]'")
    for name, value in {"predicates": predicates, "seed": seed}.items():
        if not NUMBERS[name].accepts(value):
            raise UserError(f"--{name} must be {NUMBERS[name]}, got {value!r}")
    for one in runs:
        one.check()
    chosen = _split(runs, split)
    for one in runs:
        one.predictions_path(chosen)
    return chosen


def _split(runs: Sequence[RunFolder], given: str | None) -> str:
    """The split whose predictions are read."""
    if given is not None and given not in SPLITS:
        raise UserError(f"--split must be test or validation, got {given!r}")
    return given or ("test" if all("test" in run.results for run in runs) else "validation")


def _data(
    run: RunFolder, split: str, checkpoint: str, trust_remote_code: bool, trust_classes: list[str] | str | None
) -> tuple[TaskData | None, list[str]]:
    """The data of a run, and notes if they cannot be read or have changed since."""
    try:
        path = find_checkpoint(run.folder, checkpoint)
        check_names_of(path, trust_classes)
        data = stored_data(path, trust_remote_code)
        known = run.record.get("data", {}).get("splits", {}).get(split, {}).get("fingerprint")
        changed = known is not None and data.fingerprints.get(split) != known
        _ = data.tokenizer  # opened here, where it may be missing
    except UserError as error:
        return None, [f"The data of the run cannot be read, so their columns and unknown tokens are left out: {error}."]
    if changed:
        return None, [
            f"The rows of {split} are others than those that the run has predicted, so their columns and unknown tokens are "
            "left out."
        ]
    return data, []


def write(folder: Path, analysis: Analysis) -> None:
    """Write the report, the table of slices, and the labels to look at."""
    write_report(folder, NAME, document(analysis), numbers(analysis))
    with_sign(analysis.slices, analysis.examples.measure.sign).to_csv(folder / SLICES, index=False)
    if analysis.suspected is not None:
        with (folder / LABEL_ERRORS).open("w", encoding="utf-8") as file:
            for line in _label_lines(analysis):
                file.write(f"{line}\n")


def _label_lines(analysis: Analysis) -> Iterator[str]:
    """The suspected labels with their inputs as JSON, a part at a time."""
    assert analysis.suspected is not None
    for start in range(0, len(analysis.suspected), CHUNK):
        part = analysis.suspected.iloc[start : start + CHUNK]
        rows = analysis.examples.rows(part["example"].tolist())
        for about, row in zip(part.drop(columns="example").to_dict("records"), rows, strict=True):
            yield json.dumps({**about, "text": input_text(row)}, ensure_ascii=False)

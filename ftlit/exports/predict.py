"""Predict for a file of any length with a finished run."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ftlit.data.sources.formats import Located, Reader, decode_lines, text_rows
from ftlit.data.sources.readers import READERS
from ftlit.errors import UserError
from ftlit.exports.folder import open_exported, stored_data
from ftlit.exports.output.formats import check_output, line
from ftlit.exports.output.partial import Partial
from ftlit.exports.output.source import source_of
from ftlit.exports.predicting.calibrated import check_abstaining, exported_calibration, prediction_types, run_calibration
from ftlit.exports.predicting.predictor import Predictor
from ftlit.exports.predicting.windows import Share, share_of
from ftlit.metrics.calibration.applied import Calibration
from ftlit.runs.checkpoint import find_checkpoint, load_task
from ftlit.runs.exported import is_exported
from ftlit.tasks import TaskModule
from ftlit.util.startup import quiet
from ftlit.util.trust import import_trusted


def load(
    run: str | Path,
    checkpoint: str = "best",
    device: str | None = None,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
    calibrated: bool = True,
) -> Predictor:
    """Load a run for prediction, as in ``ftlit.load("runs/x")(["some text"])``.

    Args:
        run: Folder of the run, or a folder written by `ftlit export`.
        checkpoint: `best`, `last`, or the path of a checkpoint. Ignored for exported folders, which have only one.
        device: Device of the model. Defaults to the GPU if there is one.
        trust_remote_code: Whether to run code that comes with the model. What the folder says has no effect.
        trust_classes: Import paths of classes outside ftlit that the folder may name. Classes of imported modules need not be
            listed.
        calibrated: Whether to use the calibration of the run, if `ftlit calibrate` made one.

    Raises:
        UserError: If the run does not exist, its weights do not match its backbone, it names a class that is not trusted, or
            its calibration is for other weights.
    """
    quiet()
    device = _device(device)
    import_trusted(trust_classes)
    if is_exported(Path(run)):
        own = exported_calibration(Path(run)) if calibrated else None
        return Predictor(*open_exported(Path(run), trust_remote_code), device, own)
    path = find_checkpoint(Path(run), checkpoint)
    model = load_task(path, trust_remote_code)
    if not isinstance(model, TaskModule):
        raise UserError(f"{path} is not a checkpoint of ftlit")
    own = run_calibration(Path(run), path) if calibrated else None
    return Predictor(model, stored_data(path, trust_remote_code), device, own)


def _device(name: str | None) -> str:
    """Check a device; it defaults to the GPU if there is one."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return name


def predict(
    run: str,
    input: str,
    output: str = "-",
    scores: bool = False,
    batch_size: int | None = None,
    checkpoint: str = "best",
    device: str | None = None,
    resume: bool = False,
    shard: str | None = None,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
    calibrated: bool = True,
    abstain_below: float | None = None,
) -> None:
    """Predict for new texts with a finished run.

    Args:
        run: Folder of the run, or an exported folder.
        input: File with the texts (jsonl, csv, tsv, json or parquet with the run's text columns, or txt with one text per
            line), or `-` to read one text per line from standard input.
        output: Output file (jsonl, csv or parquet), or `-` to print jsonl.
        scores: Whether to include the scores of all labels.
        batch_size: Number of texts per batch; by default as many as have 512 tokens on a CPU, and 16384 on a GPU.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Device of the model. Defaults to the GPU if there is one.
        resume: Whether to go on after the predictions that an interrupted command has left beside the output.
        shard: Share of the texts to predict, such as `2/4`, where several commands do all of them.
        trust_remote_code: Whether to run code that comes with the model. What the folder says has no effect.
        trust_classes: Import paths of classes outside ftlit that the folder may name, such as `my_task.Stars`.
        calibrated: Whether to use the calibration of the run, if `ftlit calibrate` made one.
        abstain_below: Score below which a row gets no answer, but null and `abstained: true`. Defaults to what `ftlit
            calibrate` fitted, if it did.

    Raises:
        UserError: If a file cannot be used, or the run does not exist.
    """
    _check_files(input, output, resume)
    share = share_of(shard)
    predictor = load(run, checkpoint, device, trust_remote_code, trust_classes, calibrated)
    if abstain_below is not None:
        check_abstaining(predictor.model, abstain_below)
        predictor.calibration = replace(predictor.calibration or Calibration(), abstain_below=abstain_below)
    job = _Job(predictor, input, scores, batch_size)
    if output == "-":
        job.warn(*job.print(share))
        return
    weights = Path(run) if is_exported(Path(run)) else find_checkpoint(Path(run), checkpoint)
    own = predictor.calibration.record if predictor.calibration else None
    options = {"scores": scores, "batch_size": batch_size, "device": predictor.device, "shard": shard, "calibrated": own}
    with closing(Partial(Path(output), source_of(input, weights, **options), resume)) as partial:
        partial.fill(job.windows(replace(share, done=partial.count)))
        partial.finish(job.types)
        print(f"wrote {output}")
        job.warn(partial.count, partial.cut)


def _check_files(input: str, output: str, resume: bool) -> None:
    if input != "-" and not Path(input).is_file():
        raise UserError(f"--input {input!r} does not exist")
    check_output(output)
    if resume and "-" in (input, output):
        raise UserError("--resume needs files as --input and --output; standard input cannot be read again")


@dataclass(frozen=True)
class _Job:
    """What a command predicts: the rows of a file, or of standard input."""

    predictor: Predictor
    input: str
    scores: bool
    batch_size: int | None

    def windows(self, share: Share) -> Iterator[list[dict[str, Any]]]:
        """The predictions of one window of rows after the other."""
        predictor, rows = self.predictor, read_input(self.input, self.predictor.data.readers)
        read_ahead = self.input != "-" and predictor.may_read_ahead
        window = predictor.window(self.input)
        with tqdm(desc="Predicting", unit=" texts", disable=None, initial=share.done) as bar:
            for found in predictor.located(rows, self.batch_size, self.scores, window, share, read_ahead):
                yield found
                bar.update(len(found))

    @property
    def types(self) -> dict[str, Any]:
        """Types of the columns of the predictions."""
        types = prediction_types(self.predictor.model, self.predictor.calibration)
        return types if self.scores else {name: kind for name, kind in types.items() if name != "scores"}

    def print(self, share: Share) -> tuple[int, int]:
        """Print the predictions; return their number, and that of those of a truncated text."""
        count = cut = 0
        for found in self.windows(share):
            sys.stdout.writelines(map(line, found))
            sys.stdout.flush()
            count, cut = count + len(found), cut + sum(row.get("truncated", False) for row in found)
        return count, cut

    def warn(self, count: int, cut: int) -> None:
        """Say how many texts were truncated."""
        if cut:
            print(f"{cut} of {count} texts were truncated to {self.predictor.data.max_length} tokens", file=sys.stderr)


def read_input(name: str, own: Mapping[str, Reader]) -> Located:
    """Read rows with their locations from a file or from standard input. `own` are the readers of the data module.

    Raises:
        UserError: The file has an ending that no reader has.
    """
    if name == "-":
        typed = decode_lines(sys.stdin.buffer, "standard input")
        return ((f"line {n}", line.rstrip("\r\n")) for n, line in typed if line.strip())
    readers = {**READERS, **own, ".txt": text_rows}  # a txt file contains plain texts, whatever its format in training
    suffix = Path(name).suffix.lower()
    if suffix not in readers:
        raise UserError(f"--input {name!r} must end in one of {', '.join(readers)}, or be - for standard input")
    rows = readers[suffix](Path(name))
    return ((f"{name}, {place}", row["text"] if suffix == ".txt" else row) for place, row in rows)

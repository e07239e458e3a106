"""Predict with a finished run, in Python or from a file."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from tqdm import tqdm

from ftlit.data.batches.batching import Shuffled
from ftlit.data.shared.base import TaskData
from ftlit.data.sources.formats import Located, Reader, decode_lines, describe_value, text_rows
from ftlit.data.sources.readers import READERS
from ftlit.errors import UserError
from ftlit.exports.folder import open_exported, stored_data
from ftlit.models.embeddings import check_token_ids
from ftlit.runs.checkpoint import find_checkpoint, load_task
from ftlit.runs.exported import is_exported
from ftlit.tasks import TaskModule
from ftlit.util.files import replacing
from ftlit.util.startup import quiet
from ftlit.util.trust import import_trusted

Sizes = Callable[[np.ndarray], list[int]]
NEEDS = "; this run needs "  # in the middle of an error about a row
CHUNK_ROWS = 1024  # rows that are held in memory and sorted by length together


class Predictor:
    """Predicts for new texts or rows with a finished run. Create one with `load`.

    Args:
        model: The task with its trained weights.
        data: Data module that encodes rows as in training.
        device: Device of the model, such as `cpu` or `cuda`.
    """

    def __init__(self, model: TaskModule, data: TaskData, device: str) -> None:
        self.model, self.data, self.device = model.to(device).eval(), data, device
        _ = data.encoder  # a damaged tokenizer is found before an output is begun

    def __call__(
        self, rows: Iterable[str | dict[str, Any]], batch_size: int = 32, scores: bool = False
    ) -> list[dict[str, Any]]:
        """Return a prediction for each row, in order. ``truncated`` is set if the row was longer than the model's limit.

        Args:
            rows: Texts, or rows with the columns of the run's data.
            batch_size: Number of rows per batch.
            scores: Whether to include the scores of all labels.
        """
        return list(self.stream(rows, batch_size, scores))

    def stream(
        self, rows: Iterable[str | dict[str, Any]], batch_size: int = 32, scores: bool = False, chunk: int = CHUNK_ROWS
    ) -> Iterator[dict[str, Any]]:
        """Yield predictions for a stream of rows, in order, after each `chunk` rows."""
        if isinstance(rows, str | dict):  # its characters or keys would be taken for texts
            raise UserError(f"expected a list of texts or rows, got {describe_value(rows)}; put a single one into a list")
        return self.located(((f"row {number}", row) for number, row in enumerate(rows, start=1)), batch_size, scores, chunk)

    def located(
        self, rows: Iterable[tuple[str, Any]], batch_size: int = 32, scores: bool = False, chunk: int = CHUNK_ROWS
    ) -> Iterator[dict[str, Any]]:
        """Like `stream`, for rows with their locations, which are used in error messages."""
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        sizes, numbered = Shuffled(batch_size).eval_batch_sizes, enumerate(rows)
        while some := list(islice(numbered, chunk)):
            yield from self.predictions([self._row(number, place, row) for number, (place, row) in some], sizes, scores)

    def chunk(self, input: str) -> int:
        """Return the number of rows to read before predicting: one if a user may wait for the answer, else `CHUNK_ROWS`."""
        waiting = input == "-" and (sys.stdin.isatty() or hasattr(self.model, "generation"))
        return 1 if waiting else CHUNK_ROWS

    def _row(self, number: int, place: str, given: Any) -> dict[str, Any]:
        try:
            return self.row(number, given)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None

    def row(self, number: int, given: Any) -> dict[str, Any]:
        """Return a row with its id, by default its number.

        Args:
            number: Position of the row among all.
            given: A text, or the columns of a row.

        Raises:
            UserError: What is wrong with it; the sentence does not say which row it is.
        """
        row = self.data.row_from_text(given) if isinstance(given, str) else given
        if row is None and isinstance(given, str):
            raise UserError(f"expected a row, got one text{NEEDS}{self._needs()}")
        if not isinstance(row, dict):
            raise UserError(f"expected a text or an object, got {describe_value(row)}{NEEDS}{self._needs()}")
        if problem := self.data.validate_inputs(row):
            raise UserError(f"{problem}{NEEDS}{self._needs()}")
        return {"id": row.get("id", number), **row}

    def _needs(self) -> str:
        columns = [repr(column) for column in self.data.input_columns().values()]
        return f"the {'columns' if len(columns) > 1 else 'column'} {' and '.join(columns)}"

    def check_tokens(self, ids: list[list[Any]]) -> None:
        """Check that the model knows all tokens, those of each row or of each of its parts.

        Raises:
            UserError: It does not.
        """
        sequences = (part for row in ids for part in (row if len(row) and isinstance(row[0], list) else [row]))
        table: Any = self.model.backbone.get_input_embeddings()  # type: ignore[operator]
        check_token_ids(np.array([*chain(*sequences)], dtype=np.int64), table, self.data.tokenizer, self.data.backbone)

    @torch.inference_mode()
    def predictions(self, rows: list[dict[str, Any]], sizes: Sizes, scores: bool = False) -> list[dict[str, Any]]:
        """Return the predictions for rows, in order.

        Args:
            rows: Rows from `row`.
            sizes: Returns the sizes of batches for the numbers of tokens of all examples, in ascending order.
            scores: Whether to include the scores of all labels.
        """
        names = (self.data.input_columns() | self.data.optional_columns()).values()
        given = {column: [row.get(column) for row in rows] for column in names}
        columns = self.data.encode_inputs(given)
        self.check_tokens(columns["input_ids"])
        columns.setdefault("row", list(range(len(rows))))
        lengths = np.array([_tokens(ids) for ids in columns["input_ids"]])
        order = np.argsort(lengths, kind="stable")
        parts: list[dict[int, dict[str, Any]]] = [{} for _ in rows]
        for part in np.split(order, np.cumsum(sizes(lengths[order]))[:-1]):
            chosen = part.tolist()
            batch = self.data.collate({name: [values[i] for i in chosen] for name, values in columns.items()})
            moved = {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
            for i, found in zip(chosen, self.model.predict_batch(moved), strict=True):
                parts[columns["row"][i]][i] = found or {}
        whole = [self.model.merge_windows([part[i] for i in sorted(part)]) for part in parts]
        for i in {row for row, cut in zip(columns["row"], columns["truncated"], strict=True) if cut}:
            whole[i] = {**whole[i], "truncated": True}
        hidden = () if scores else ("scores",)
        return [
            {"id": row["id"], **{key: value for key, value in prediction.items() if key not in hidden}}
            for row, prediction in zip(rows, whole, strict=True)
        ]


def _tokens(ids: list[Any]) -> int:
    """Number of tokens of an example: for several texts, such as choices, that of the longest times their number."""
    return len(ids) * max(map(len, ids)) if len(ids) and isinstance(ids[0], list) else len(ids)


def load(
    run: str | Path,
    checkpoint: str = "best",
    device: str | None = None,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> Predictor:
    """Load a run for prediction, as in ``ftlit.load("runs/x")(["some text"])``.

    Args:
        run: Folder of the run, or a folder written by `ftlit export`.
        checkpoint: `best`, `last`, or the path of a checkpoint. Ignored for exported folders, which have only one.
        device: Device of the model. Defaults to the GPU if there is one.
        trust_remote_code: Whether to run code that comes with the model. What the folder says has no effect.
        trust_classes: Import paths of classes outside ftlit that the folder may name. Classes of imported modules need not be
            listed.

    Raises:
        UserError: If the run does not exist, its weights do not match its backbone, or it names a class that is not trusted.
    """
    quiet()
    device = _device(device)
    import_trusted(trust_classes)
    if is_exported(Path(run)):
        return Predictor(*open_exported(Path(run), trust_remote_code), device)
    path = find_checkpoint(Path(run), checkpoint)
    model = load_task(path, trust_remote_code)
    if not isinstance(model, TaskModule):
        raise UserError(f"{path} is not a checkpoint of ftlit")
    return Predictor(model, stored_data(path, trust_remote_code), device)


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
    batch_size: int = 32,
    checkpoint: str = "best",
    device: str | None = None,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Predict for new texts with a finished run.

    Args:
        run: Folder of the run, or an exported folder.
        input: File with the texts (jsonl, csv, tsv, json or parquet with the run's text columns, or txt with one text per
            line), or `-` to read one text per line from standard input.
        output: Output file (jsonl or csv), or `-` to print jsonl.
        scores: Whether to include the scores of all labels.
        batch_size: Number of texts per batch.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Device of the model. Defaults to the GPU if there is one.
        trust_remote_code: Whether to run code that comes with the model. What the folder says has no effect.
        trust_classes: Import paths of classes outside ftlit that the folder may name, such as `my_task.Stars`.

    Raises:
        UserError: If a file cannot be used, or the run does not exist.
    """
    if input != "-" and not Path(input).is_file():
        raise UserError(f"--input {input!r} does not exist")
    predictor = load(run, checkpoint, device, trust_remote_code, trust_classes)
    rows = tqdm(_read(input, predictor.data.readers), desc="Predicting", unit=" texts", disable=None)
    count = cut = 0
    with _writing(output) as file:
        write = _csv_writer(file) if output.endswith(".csv") else _jsonl_writer(file)
        for prediction in predictor.located(rows, batch_size, scores, predictor.chunk(input)):
            write(prediction)
            count, cut = count + 1, cut + prediction.get("truncated", False)
            if input == "-":
                file.flush()
    if cut:
        print(f"{cut} of {count} texts were truncated to {predictor.data.max_length} tokens", file=sys.stderr)


def _read(name: str, own: Mapping[str, Reader]) -> Located:
    """Read rows with their locations from a file or from standard input. `own` are the readers of the data module."""
    if name == "-":
        typed = decode_lines(sys.stdin.buffer, "standard input")
        return ((f"line {n}", line.rstrip("\r\n")) for n, line in typed if line.strip())
    readers = {**READERS, **own, ".txt": text_rows}  # a txt file contains plain texts, whatever its format in training
    suffix = Path(name).suffix.lower()
    if suffix not in readers:
        raise UserError(f"--input {name!r} must end in one of {', '.join(readers)}, or be - for standard input")
    rows = readers[suffix](Path(name))
    return ((f"{name}, {place}", row["text"] if suffix == ".txt" else row) for place, row in rows)


@contextmanager
def _writing(name: str) -> Iterator[TextIO]:
    """Open standard output, or a file that is written atomically."""
    if name == "-":
        yield sys.stdout
        return
    if not name.endswith((".jsonl", ".csv")):
        raise UserError(f"--output {name!r} must end in jsonl or csv, or be - for standard output")
    with replacing(Path(name)) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        yield file
    print(f"wrote {name}")


def _jsonl_writer(file: TextIO) -> Any:
    return lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _csv_writer(file: TextIO) -> Any:
    table: csv.DictWriter[str] | None = None

    def write(row: dict[str, Any]) -> None:
        nonlocal table
        scores = row.get("scores")
        named = scores if isinstance(scores, dict) else {}  # scores of choices are a list
        flat = {key: value for key, value in row.items() if value is not named}
        flat |= {f"scores.{label}": score for label, score in named.items()}  # a label may be called id, too
        flat["truncated"] = json.dumps(row.get("truncated", False))  # in every row, since the first one determines the columns
        if table is None:
            table = csv.DictWriter(file, list(flat))
            table.writeheader()
        table.writerow({k: json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for k, v in flat.items()})

    return write

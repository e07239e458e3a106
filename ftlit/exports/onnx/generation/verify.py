"""Verify graphs that write texts: without PyTorch, they must return the logits of the run along texts, and write its texts."""

import json
from dataclasses import dataclass, replace
from inspect import signature
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports import verify
from ftlit.exports.onnx.generation import script
from ftlit.exports.onnx.generation.generate import ENCODER, NEUTRAL, SETTINGS, unfollowed, written
from ftlit.exports.onnx.generation.graphs import plain
from ftlit.exports.traced.cases import LONGEST
from ftlit.models.generation import SAMPLING, Generation
from ftlit.tasks import TaskModule
from ftlit.util.files import write_json

ROWS, TOKENS = 3, 32  # of validation, and tokens that are written for each
FEW = 4  # tokens that are read one by one behind prompts of other sizes
Source = Any  # ids of a prompt, or the inputs of an encoder by their names


@dataclass(frozen=True)
class Case:
    """Prompts or sources, a text behind each, and the logits of the run along it.

    Args:
        inputs: What ``generate`` takes, ``(rows, longest)``.
        text: Ids of tokens, ``(rows, tokens)``. The text of an encoder-decoder begins with the token that begins targets.
        logits: Logits of the first token of the text, unless it is given, and of those behind each.
    """

    inputs: dict[str, Tensor]
    text: Tensor
    logits: Tensor


@dataclass(frozen=True)
class TextCases:
    """Texts of several sizes, and the outputs of the run for them.

    Args:
        rows: Rows of validation.
        tokens: Token ids of these rows.
        sources: The first rows with a text, as the task takes them.
        cases: The texts, first those that the run writes for the rows.
        length: Number of tokens that the run wrote at most.
    """

    rows: dict[str, list[Any]]
    tokens: list[Any]
    sources: list[Source]
    cases: list[Case]
    length: int

    @property
    def inputs(self) -> list[dict[str, Tensor]]:
        """What ``generate`` takes for each case."""
        return [case.inputs for case in self.cases]

    def scaled(self, mean: float, deviation: float) -> "TextCases":
        """The cases themselves: logits have no unit."""
        return self


def reference_texts(task: Any, data: TaskData) -> TextCases:
    """Compute the logits of a run along texts, before anything is merged.

    They are those that the run writes for rows of validation, all together and the first alone, and a few tokens behind prompts
    of one token and of the greatest length up to 1024 tokens.

    Raises:
        UserError: If the data cannot be read.
    """
    split = verify.validation_rows(data, verify.ROWS_READ)
    names = (data.input_columns() | data.optional_columns()).values()
    rows = {name: split[name][:] if name in split.column_names else [None] * len(split) for name in names}
    columns = data.encode_inputs(rows)
    length = min(TOKENS, task.generation.max_new_tokens or task.max_new_tokens)
    limit = getattr(task, "position_limit", None)
    longest = min(data.max_length, LONGEST, *([limit - length] if limit else []))
    given = [one for one in task.sources(data.collate(columns)) if one and (not isinstance(one, dict) or one["input_ids"])]
    if not given:
        raise UserError(f"the first {len(split)} rows of validation have no text, on which graphs are verified; put one first")
    sources = [resized(one, longest) for one in given[:ROWS]]
    text = write(task, sources, length)
    few = text[:1, :FEW]
    cases = [case_of(task, sources, text), case_of(task, sources[:1], text[:1])]
    for count, tokens in ((1, 1), (ROWS, 1), (1, longest)):
        others = [resized(sources[0], tokens, repeat=True)] * count
        cases.append(case_of(task, others, few.expand(count, -1)))
    return TextCases(rows, columns["input_ids"], sources, cases, length)


def resized(source: Source, tokens: int, repeat: bool = False) -> Source:
    """Return the first tokens of a source, or the last of a prompt, or as many of it again and again."""
    if isinstance(source, dict):
        return {name: resized(values, tokens, True)[:tokens] if repeat else values[:tokens] for name, values in source.items()}
    return (source * tokens)[:tokens] if repeat else source[-tokens:]


def greedy(own: Generation, length: int) -> Generation:
    """Return the settings of a run without beams and draws, for texts of some tokens."""
    plain_ones = {name: getattr(Generation, name) for name in (*SAMPLING, "num_beams", "do_sample", "length_penalty")}
    return replace(own, max_new_tokens=length, min_new_tokens=min(own.min_new_tokens, length), **plain_ones)


@torch.inference_mode()
def write(task: Any, sources: list[Source], length: int) -> Tensor:
    """Return the ids of what a task writes token by token, ``(rows, tokens)``, behind each prompt or for each source."""
    inputs = task.generation_inputs(sources)
    config = greedy(task.generation, length).config(task.tokenizer, length)
    found = task.model.generate(**inputs, generation_config=config)
    return found if task.model.config.is_encoder_decoder else found[:, inputs["input_ids"].shape[1] :]


def case_of(task: Any, sources: list[Source], text: Tensor) -> Case:
    """Compute the logits of a task along texts, in one call without a cache."""
    inputs = task.generation_inputs(sources)
    return Case(inputs, text, logits_along(task, inputs, text))


@torch.inference_mode()
def logits_along(task: Any, inputs: dict[str, Tensor], text: Tensor) -> Tensor:
    """Return the logits of the tokens behind prompts and texts, ``(rows, tokens, vocabulary)``.

    Args:
        task: The task.
        inputs: What ``generate`` takes.
        text: Ids of tokens, ``(rows, tokens)``.
    """
    if task.model.config.is_encoder_decoder:
        return task.model(**inputs, decoder_input_ids=text, use_cache=False).logits.float().cpu()
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(text)], 1)
    given = {"input_ids": torch.cat([inputs["input_ids"], text], 1), "attention_mask": mask, "use_cache": False}
    if "position_ids" in signature(plain(task.model).forward).parameters:
        given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return task.model(**given).logits[:, inputs["input_ids"].shape[1] - 1 :].float().cpu()


def verify_graphs(expected: TextCases, task: TaskModule, folder: Path, work: Path) -> float:
    """Compare the logits and the texts of an exported folder in a process without PyTorch with those of the run.

    Args:
        expected: Outputs of the run.
        task: Task of the run.
        folder: The exported folder.
        work: Folder for files that are exchanged between the processes.

    Returns:
        The largest difference of logits, relative to the largest, or to 1 if all are smaller.

    Raises:
        UserError: If the graphs cannot be opened, the difference is above the tolerance, or the texts are others.
    """
    work.mkdir()
    given = {
        f"{i}.{name}": value.cpu().numpy()
        for i, case in enumerate(expected.cases)
        for name, value in {**case.inputs, "text": case.text}.items()
    }
    np.savez(work / "inputs.npz", **given)  # type: ignore[arg-type]
    write_json(work / "plan.json", {"folder": str(folder), "cases": len(expected.cases), **_writing(expected, task, folder)})
    verify.run_in_new_process(work, script)
    where = "a process with onnxruntime alone"
    with np.load(work / "found.npz") as file:
        found = [torch.from_numpy(file[str(i)]) for i in range(len(expected.cases))]
    difference = compare(where, found, expected)
    if not {*unfollowed_settings(folder)} - {"num_beams"}:
        _check_texts(where, json.loads((work / "written.json").read_text("utf-8")), expected, folder)
    return difference


def _writing(expected: TextCases, task: Any, folder: Path) -> dict[str, Any]:
    """What the program of the folder writes, and its settings."""
    own = greedy(task.generation, expected.length)
    settings = {name: NEUTRAL.get(name) for name in unfollowed_settings(folder)}
    settings |= {"num_beams": 1, "do_sample": False, "max_new_tokens": own.max_new_tokens, "min_new_tokens": own.min_new_tokens}
    sources = expected.sources
    columns = {name: [one[name] for one in sources] for name in sources[0]} if isinstance(sources[0], dict) else {}
    prompts = columns.pop("input_ids", sources)
    columns.pop("attention_mask", None)
    return {"settings": settings, "write": {"prompts": prompts, **columns}}


def _settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SETTINGS).read_text("utf-8"))


def unfollowed_settings(folder: Path) -> list[str]:
    """Return the names of the settings of a folder that its program does not follow, such as several beams."""
    return unfollowed(_settings(folder))


def verify_opened_texts(expected: TextCases, folder: Path, task: Any, data: TaskData) -> float:
    """Compare the tokens, logits and texts of the task that `ftlit.load` opens with those of the run."""
    if data.encode_inputs(expected.rows)["input_ids"] != expected.tokens:
        raise UserError("the exported tokenizer returns other tokens than that of the run")
    found = [logits_along(task, case.inputs, case.text) for case in expected.cases]
    difference = compare("ftlit.load", found, expected)
    encoded, ids = (folder / ENCODER).is_file(), write(task, expected.sources, expected.length).tolist()
    found_texts = [written(row[encoded:], _settings(folder), encoded) for row in ids]
    _check_texts("ftlit.load", found_texts, expected, folder)
    return difference


def compare(where: str, found: list[Tensor], expected: TextCases) -> float:
    """Return the largest difference of logits.

    Raises:
        UserError: It is above the tolerance.
    """
    pairs = zip(found, expected.cases, strict=True)
    return max(verify.check_difference(where, {"logits": one}, {"logits": case.logits}, "float32") for one, case in pairs)


def _check_texts(where: str, found: list[list[int]], expected: TextCases, folder: Path) -> None:
    """Check that a folder writes the texts of the run, unless two tokens are equally probable where they part.

    Raises:
        UserError: It writes others.
    """
    settings, [first, *_] = _settings(folder), expected.cases
    encoded, closest = (folder / ENCODER).is_file(), verify.TOLERANCES["float32"]
    rows = [ids[encoded:] for ids in first.text.tolist()]
    for ids, own, logits in zip(found, rows, first.logits, strict=True):
        right = written(own, settings, encoded)
        if ids == right:
            continue
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, right, strict=False)))
        best = logits[own.index(right[0]) + alike if right else 0].topk(2).values
        if best[0] - best[1] > closest * max(float(best.abs().max()), 1.0):
            raise UserError(f"the export differs from the run: {where} writes another text; nothing was written")

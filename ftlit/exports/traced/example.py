"""A program that uses what was traced with ONNX Runtime or PyTorch, tokenizers and NumPy only, for its model card."""

import json
from typing import Any

from ftlit.data.shared.base import TaskData
from ftlit.exports.onnx.runtime import GRAPH
from ftlit.exports.traced.cases import Cases
from ftlit.runs.exported import PROGRAM, Kind
from ftlit.tasks import (
    MaskedLM,
    MultipleChoice,
    QuestionAnswering,
    RelationExtraction,
    TaskModule,
    TextClassification,
    TextRegression,
    TokenClassification,
)

COLUMNS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}  # of a text's encoding
LABELS = 'labels = json.load(open("config.json"))["id2label"]'
TEXT, PAIR = '"some text"', '("some text", "another text")'


def example(task: TaskModule, data: TaskData, expected: Cases, scaled: bool, kind: Kind = "onnx") -> str | None:
    """Return the code that predicts for a few texts in the folder of a graph; None if its tokenizer needs transformers.

    Args:
        task: The task.
        data: Data module of the run.
        expected: Inputs and outputs of the graph.
        scaled: Whether the graph of a regression returns the target in its own unit.
        kind: Kind of the folder: `onnx` or `torch`.
    """
    tokenizer: Any = data.tokenizer
    if not tokenizer.is_fast:  # it has no tokenizer.json
        return None
    end = _end(task, scaled)
    load, run = (_onnx if kind == "onnx" else _torch)(expected)
    inputs = [*expected.inputs[0]]
    columns = [f'"{name}": [one.{COLUMNS[name]} for one in found]' for name in inputs if name in COLUMNS]
    if "entity_positions" in inputs:
        columns.append(f'"entity_positions": [[one.ids.index(mark) for mark in {data.marker_ids[::2]}] for one in found]')  # type: ignore[attr-defined]
    lines = [
        *(["import json", ""] if LABELS in end else []),
        "import numpy as np",
        f"import {'onnxruntime' if kind == 'onnx' else 'torch'}",
        "from tokenizers import Tokenizer",
        "",
        'tokenizer = Tokenizer.from_file("tokenizer.json")',
        f"tokenizer.enable_truncation({data.max_length})",
        f"tokenizer.enable_padding(pad_id={tokenizer.pad_token_id}, pad_token={quoted(tokenizer.pad_token)})",
        load,
        *_texts(task, data),
        "found = tokenizer.encode_batch(texts)",
        "inputs = {",
        *(f"    {column}," for column in columns),
        "}",
        *run,
        *end,
    ]
    return "\n".join(lines)


def _onnx(expected: Cases) -> tuple[str, list[str]]:
    """Lines that open a graph of ONNX, and that set its outputs."""
    outputs = [*expected.outputs[0]]
    call = f"session.run({quoted(outputs)}, {{name: np.array(rows) for name, rows in inputs.items()}})"
    return f'session = onnxruntime.InferenceSession("{GRAPH}")', [f"{_names(outputs)} = {call}"]


def _torch(expected: Cases) -> tuple[str, list[str]]:
    """Lines that open a program of torch.export, and that set its outputs."""
    call = f"{_names([*expected.outputs[0]])} = [value.numpy() for value in program(*map(torch.tensor, inputs.values()))]"
    return f'program = torch.export.load("{PROGRAM}").module()', ["with torch.inference_mode():", f"    {call}"]


def _names(outputs: list[str]) -> str:
    return f"[{outputs[0]}]" if len(outputs) == 1 else ", ".join(outputs)


def quoted(value: Any) -> str:
    """Return a value as it is written in a program."""
    return json.dumps(value, ensure_ascii=False)


def _texts(task: TaskModule, data: TaskData) -> list[str]:
    """Lines that set the texts to predict for."""
    if isinstance(task, RelationExtraction):
        return ['texts = ["some [E1] text [/E1] about [E2] another [/E2]"]  # the entities in markers']
    if isinstance(task, QuestionAnswering):
        return ['texts = [("a question", "the text that answers it")]']
    if isinstance(task, MultipleChoice):
        return ['choices = ["a choice", "another choice"]', 'texts = [("the question", choice) for choice in choices]']
    if isinstance(task, MaskedLM):
        return [f"texts = [{quoted(f'some {data.tokenizer.mask_token} text')}]"]
    paired = getattr(data, "text_pair", None) is not None
    return [f"texts = [{PAIR if paired else TEXT}]"]


def _end(task: TaskModule, scaled: bool) -> list[str]:
    """Lines that print the predictions."""
    if isinstance(task, TextRegression):
        return [f"print((logits[:, 0]{'' if scaled else f' * {task.deviation} + {task.mean}'}).tolist())"]
    if isinstance(task, QuestionAnswering):
        return [
            "for (_, context), one, starts, ends in zip(texts, found, start_logits, end_logits):",
            "    inside = np.where(np.array(one.sequence_ids) == 1, 0, -np.inf)",
            "    first = (starts + inside).argmax()",
            "    last = first + (ends + inside)[first:].argmax()",
            "    print(context[one.offsets[first][0] : one.offsets[last][1]].strip())",
        ]
    if isinstance(task, MultipleChoice):
        return ["print(choices[logits[:, 0].argmax()])"]
    if isinstance(task, MaskedLM):
        name, mask = "prediction_logits" if task.next_sentence else "logits", task.tokenizer.mask_token_id
        return [
            f"for one, row in zip(found, {name}):",
            f"    print([tokenizer.id_to_token(i) for i in row[np.array(one.ids) == {mask}].argmax(-1)])",
        ]
    if isinstance(task, TokenClassification):
        return [
            LABELS,
            "for text, one, row in zip(texts, found, logits):",
            "    print([(text[a:b], labels[str(i)]) for (a, b), i in zip(one.offsets, row.argmax(-1)) if a < b])",
        ]
    if isinstance(task, TextClassification) and task.multi_label:
        return [LABELS, "print([[labels[str(i)] for i in np.flatnonzero(row > 0)] for row in logits])"]
    if isinstance(task, TextClassification | RelationExtraction):
        return [LABELS, "print([labels[str(i)] for i in logits.argmax(-1)])"]
    return ["print(logits)"]

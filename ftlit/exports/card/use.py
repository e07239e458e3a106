"""The part of a model card that says how to run a folder: with its library, with ftlit, and over HTTP."""

import json
import shlex
from typing import Any

from ftlit.data.relation_extraction import ENTITY_MARKERS
from ftlit.exports.card.subject import Subject
from ftlit.runs.exported import BACKBONE, ONLY_PREDICT, Kind
from ftlit.tasks import (
    CausalLM,
    MaskedLM,
    MultipleChoice,
    QuestionAnswering,
    RelationExtraction,
    Seq2Seq,
    TextClassification,
    TextRegression,
    TokenClassification,
)

FOLDER = "this/folder"
SOME, OTHER = "some text", "another text"
WHOLE: tuple[Kind, ...] = ("model", "own_head")  # models of transformers with their heads


def use_section(subject: Subject) -> str:
    """Programs that predict with a folder."""
    code = subject.library or _transformers(subject)
    parts = [f"```python\n{code}\n```"] if code else []
    row = json.dumps(example_row(subject), ensure_ascii=False)
    parts += [
        f"With ftlit, whose predictions are those of the run:\n\n```python\n{_ftlit(row)}\n```",
        f"Over HTTP:\n\n```console\n$ python -m ftlit serve --run {FOLDER}\n"
        f"$ curl --json {shlex.quote(row)} localhost:8000/predict\n```",
    ]
    return "\n\n".join(["## Use", *parts])


def example_row(subject: Subject) -> dict[str, Any]:
    """A row with the input columns of the data."""
    data: Any = subject.data
    if (found := data.row_from_text(SOME)) is not None and not isinstance(subject.task, TokenClassification):
        return dict(found)
    needed, schema = set(data.input_columns().values()), data.input_schema()
    row = {column: _example(what) for column, what in schema.items() if column in needed}
    if isinstance(subject.task, RelationExtraction):  # the entities are the first word and the second
        row |= {data.head: {"start": 0, "end": 4}, data.tail: {"start": 5, "end": 9}}
    return row


def _example(schema: dict[str, Any]) -> Any:
    kind = schema.get("type") or schema.get("anyOf", [{}])[0].get("type")
    return SOME.split() if kind == "array" else SOME


def _ftlit(row: str) -> str:
    return f'import ftlit\n\nmodel = ftlit.load("{FOLDER}")\nprint(model([{row}]))'


def _transformers(subject: Subject) -> str | None:
    """Code for transformers or peft; None for a kind of folder that only ftlit opens."""
    if subject.kind in ONLY_PREDICT:
        return None
    if subject.kind in WHOLE and (called := _pipeline(subject)):
        return called
    return _loading(subject)


# With a pipeline


def _pipeline(subject: Subject) -> str | None:
    """Code that predicts by a pipeline; None if transformers has none for the task."""
    task, data = subject.task, subject.data
    if len(data.input_columns()) > 1 and not isinstance(task, RelationExtraction):
        return None
    if isinstance(task, TextRegression):
        return _called("text-classification", f'"{SOME}", function_to_apply="none"', subject)
    if isinstance(task, TextClassification):
        return _called("text-classification", f'"{SOME}"' + (", top_k=None" if task.multi_label else ""), subject)
    if isinstance(task, RelationExtraction):
        return _called("text-classification", f'"{_marked()}"', subject)
    if isinstance(task, TokenClassification):
        return _called("token-classification", f'"{SOME}"', subject)
    if isinstance(task, MaskedLM) and not task.next_sentence:
        return _called("fill-mask", f'"some {data.tokenizer.mask_token} text"', subject)
    if isinstance(task, CausalLM):
        chats = hasattr(data, "chat_template")
        given = f'[{{"role": "user", "content": "{SOME}"}}]' if chats else f'"{SOME}"'
        return _called("text-generation", f"{given}, max_new_tokens=20", subject)
    return None


def _marked() -> str:
    first, first_end, second, second_end = ENTITY_MARKERS
    return f"{first} some {first_end} {second} text {second_end}"


def _called(name: str, given: str, subject: Subject) -> str:
    return (
        f'from transformers import pipeline\n\nmodel = pipeline("{name}", model="{FOLDER}"{_trust(subject)})\n'
        f"print(model({given}))"
    )


def _trust(subject: Subject) -> str:
    return ", trust_remote_code=True" if subject.kind == "own_head" else ""


# With the model


def _loading(subject: Subject) -> str:
    """Code that opens the tokenizer and the model, and calls the model if its head is in the folder."""
    name, kind = _class_name(subject), subject.kind
    words = f"{FOLDER}/{BACKBONE}" if kind == "backbone" else FOLDER
    base = subject.backbone.split(" ")[0] if kind == "adapter" else words
    called = _call(subject) if kind in WHOLE else []
    generates = isinstance(subject.task, Seq2Seq)
    lines = [
        *(["import torch"] if called and not generates else []),
        *(["from peft import PeftModel"] if kind == "adapter" else []),
        f"from transformers import {name}, AutoTokenizer",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{words}")',
        f'model = {name}.from_pretrained("{base}"{_trust(subject)}){"" if kind in WHOLE else "  # without the head"}',
        *([f'model = PeftModel.from_pretrained(model, "{FOLDER}")'] if kind == "adapter" else []),
        *called,
    ]
    return "\n".join(lines)


def _class_name(subject: Subject) -> str:
    task = subject.task
    if subject.kind in WHOLE:
        return "AutoModelForMultipleChoice" if isinstance(task, MultipleChoice) else str(task.auto_class.__name__)
    return "AutoModel" if subject.kind == "backbone" or task.backbone is not task.model else str(task.auto_class.__name__)


def _call(subject: Subject) -> list[str]:
    task = subject.task
    if isinstance(task, Seq2Seq):
        made = ["print(tokenizer.batch_decode(model.generate(**tokens), skip_special_tokens=True))"]
        return [f'tokens = tokenizer("{SOME}", return_tensors="pt")', *made]
    start = ["with torch.no_grad():"]
    if isinstance(task, QuestionAnswering):
        return [
            'tokens = tokenizer("a question", "the text that answers it", return_tensors="pt")',
            *start,
            "    found = model(**tokens)",
            "first = found.start_logits.argmax()",
            "last = first + found.end_logits[0, first:].argmax()",
            'print(tokenizer.decode(tokens["input_ids"][0, first : last + 1]))',
        ]
    if isinstance(task, MultipleChoice):
        return [
            'choices = ["a choice", "another choice"]',
            'tokens = tokenizer(["the question"] * len(choices), choices, padding=True, return_tensors="pt")',
            *start,
            "    print(model(**{name: rows[None] for name, rows in tokens.items()}).logits)",
        ]
    given = f'"{SOME}", "{OTHER}"' if len(subject.data.input_columns()) > 1 else f'"{SOME}"'
    return [f'tokens = tokenizer({given}, return_tensors="pt")', *start, "    print(model(**tokens).logits)"]

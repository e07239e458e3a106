"""A program that writes texts with ONNX Runtime, tokenizers and NumPy only, for the model card of exported graphs."""

from typing import Any

from ftlit.data.chat import ChatData
from ftlit.data.seq2seq import Seq2SeqData
from ftlit.data.shared.base import TaskData
from ftlit.data.text.encoding import frame
from ftlit.exports.onnx.generation.generate import NEUTRAL
from ftlit.exports.onnx.generation.verify import TextCases
from ftlit.exports.traced.example import PAIR, TEXT, quoted
from ftlit.runs.exported import TARGET_TOKENIZER

SOME = "some text"


def text_example(task: Any, data: TaskData, expected: TextCases, refused: list[str]) -> str | None:
    """Return the code that writes texts for a few prompts or sources; None if its tokenizer needs transformers.

    Args:
        task: The task.
        data: Data module of the run.
        expected: Inputs and outputs of the graphs.
        refused: Settings of the run that the program of the folder does not follow.
    """
    if not (data.tokenizer.is_fast and task.tokenizer.is_fast):  # they have no tokenizer.json
        return None
    prompts = _sources(data, expected) if isinstance(data, Seq2SeqData) else _prompts(task, data)
    if prompts is None:
        return None
    target = getattr(task, "decoder", None)
    changes = "".join(f", {name}={NEUTRAL.get(name)}" for name in refused)
    decode = "target" if target else "tokenizer"
    keep = ", skip_special_tokens=False" if task.keep_special_tokens else ""
    lines = [
        "from tokenizers import Tokenizer",
        "",
        "from generate import Writer",
        "",
        'tokenizer = Tokenizer.from_file("tokenizer.json")',
        *([f'target = Tokenizer.from_file("{TARGET_TOKENIZER}/tokenizer.json")'] if target else []),
        *prompts,
        f'for ids in Writer("."{changes})({_arguments(data, expected)}):',
        f"    print({decode}.decode(ids{keep}).strip())",
    ]
    return "\n".join(lines)


def _sources(data: Seq2SeqData, expected: TextCases) -> list[str]:
    text = PAIR if data.context else TEXT
    prefix = f"[{quoted(data.prefix)} + text for text in texts]" if data.prefix else "texts"
    return [
        f"tokenizer.enable_truncation({data.max_length})",
        f"texts = [{text}]",
        f"found = tokenizer.encode_batch({prefix})",
    ]


def _prompts(task: Any, data: TaskData) -> list[str] | None:
    """Lines that set the prompts, or None if a row has more than one text."""
    row = data.row_from_text(SOME)
    if row is None or data.validate_inputs(row):
        return None
    limit = task.position_limit
    longest = min(data.max_length, *([limit - task.max_new_tokens] if limit else []), 2**31)
    if not isinstance(data, ChatData):
        behind = len(frame(data.tokenizer)[1])
        whole = f"one.ids[:-{behind}]" if behind else "one.ids"
        return [
            f"texts = [{TEXT}]",
            f"prompts = [{whole}[-{longest}:] for one in tokenizer.encode_batch(texts)]",
        ]
    written, _ = data.chat_template.asked(*data.reader.asked(row))
    before, found, after = written.partition(SOME)
    if not found or SOME in after:
        return None
    return [
        f"texts = [{TEXT}]",
        f"chats = [{quoted(before)} + text + {quoted(after)} for text in texts]",
        f"prompts = [one.ids[-{longest}:] for one in tokenizer.encode_batch(chats, add_special_tokens=False)]",
    ]


def _arguments(data: TaskData, expected: TextCases) -> str:
    if not isinstance(data, Seq2SeqData):
        return "prompts"
    types = ", token_type_ids=[one.type_ids for one in found]" if "token_type_ids" in expected.inputs[0] else ""
    return f"[one.ids for one in found]{types}"

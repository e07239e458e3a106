"""Runs on conversations with reasoning and tools: evaluation, prediction and export see what training saw."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import ftlit as package
from ftlit.__main__ import main
from tests.support.chat_templates import shaped_model
from tests.support.data import write_splits
from tests.support.runs import fitted

ADD = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOLS = [{"name": "add", "description": "Adds.", "parameters": {"properties": {"a": {"type": "number"}}}}]


def talk(i: int) -> dict[str, Any]:
    """Two questions, the second of which is answered with a call, or one question."""
    first = [{"role": "user", "content": f"Say {i}"}, {"role": "assistant", "content": str(i), "reasoning_content": "Easy"}]
    second = [{"role": "user", "content": "Add"}, {"role": "assistant", "content": None, "tool_calls": [ADD]}]
    more = [{"role": "tool", "content": "5"}, {"role": "assistant", "content": [{"type": "text", "text": "5"}]}]
    return {"talk": [first, [*first, *second], [*first, *second, *more]][i % 3], "tools": TOOLS, "system": "Be brief"}


@pytest.mark.usefixtures("in_process")
def test_reasoning_and_tools(tmp_path: Path) -> None:
    rows = {"train": [talk(i) for i in range(12)], "validation": [talk(i) for i in range(6)]}
    given = {"data": "ChatData", "data__messages": "talk", "data__max_length": 800, "data__packing": "true"}
    folder = shaped_model(tmp_path / "model", "qwen3", begins=True)
    given |= {"model__backbone": folder, "data__dataset": write_splits(tmp_path / "rows", rows), "model__tuning": "LoRA"}
    replies = {"model__metrics": "[exact_match, chrf]", "model__samples": 2, "model__generation__max_new_tokens": 6}
    replies |= {"model__keep_special_tokens": "true", "model__generation__no_repeat_ngram_size": 1}
    run = fitted(tmp_path / "run", "CausalLM", **given, **replies)

    lines = (run / "predictions" / "validation.jsonl").read_text("utf-8").splitlines()
    predictions, results = [json.loads(line) for line in lines], json.loads((run / "results.json").read_text())["validation"]
    assert [row["id"] for row in predictions] == [f"validation:{i}" for i in range(6)], "one line for each conversation"
    assert predictions[1]["talk"][3] == {"role": "assistant", "content": None, "tool_calls": [ADD]}
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    thoughts = ["Easy", "", ""]
    labels = ["0", call, "5"]
    expected = [f"<think>\n{thought}\n</think>\n\n{label}" for thought, label in zip(thoughts, labels, strict=True)]
    assert [row["label"] for row in predictions[:3]] == expected
    mean = sum(row["nll"] * row["targets"] for row in predictions) / sum(row["targets"] for row in predictions)
    assert mean == pytest.approx(results["loss"], rel=1e-5)
    assert results["perplexity"] == pytest.approx(math.exp(mean), rel=1e-4)
    assert predictions[1]["targets"] == 12 + 49, "all turns count, not only the last"

    written = [row["prediction"] for row in predictions]
    assert any(written)
    asked = [{**row, "talk": row["talk"][:-1]} for row in rows["validation"]]
    for given_rows in (asked, rows["validation"]):
        assert [row["prediction"] for row in package.load(run, device="cpu")(given_rows)] == written
    main(["export", "--run", str(run), "--output", str(tmp_path / "out")])
    assert [row["prediction"] for row in package.load(tmp_path / "out", device="cpu")(asked)] == written
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    messages = [{"role": "system", "content": "Be brief"}, *asked[0]["talk"]]
    found = tokenizer.apply_chat_template(
        messages, tools=[{"type": "function", "function": TOOLS[0]}], add_generation_prompt=True
    )
    data = package.load(run, device="cpu").data
    assert data.encode_inputs({"talk": [asked[0]["talk"]], "tools": [TOOLS], "system": ["Be brief"]})["input_ids"] == [
        found.input_ids
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_bos_in_prompts_and_exports(tmp_path: Path) -> None:
    rows = [{"q": f"Say {i}", "a": str(i)} for i in range(8)]
    given = {"data": "ChatData", "data__prompt": "q", "data__response": "a", "data__template": "chatml", "model__samples": 1}
    folder = shaped_model(tmp_path / "model", "qwen3", begins=True)
    given |= {"model__backbone": folder, "model__generation__max_new_tokens": 4, "model__tuning": "LoRA"}
    dataset = write_splits(tmp_path / "rows", {"train": rows, "validation": rows[:2]})
    run = fitted(tmp_path / "run", "CausalLM", data__dataset=dataset, **given)
    main(["export", "--run", str(run), "--output", str(tmp_path / "out")])
    prompts = [
        package.load(place, device="cpu").data.encode_inputs({"q": ["Say 1"]})["input_ids"][0]
        for place in (run, tmp_path / "out")
    ]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    own = tokenizer.apply_chat_template([{"role": "user", "content": "Say 1"}], add_generation_prompt=True).input_ids
    assert prompts == [own, own]
    assert own[0] == tokenizer.bos_token_id != own[1]

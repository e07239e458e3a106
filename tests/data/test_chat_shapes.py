"""Which tokens have a loss, for chat templates in the shapes of well-known models: turns, systems, tools and reasoning."""

from pathlib import Path
from typing import Any

import pytest

from ftlit.data import ChatData
from ftlit.errors import UserError
from ftlit.util.batch import IGNORED
from tests.support.chat_templates import SHAPES, shaped_model
from tests.support.data import write_splits

Message = dict[str, Any]


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def reply(text: str, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


ADD = {"id": "call00001", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 4}}}
RESULT = {"role": "tool", "content": "5", "tool_call_id": "call00001"}
NUMBERS = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": NUMBERS}}]
TURNS = [user("Hi"), reply("Hello\nyou"), user("Bye"), reply("Ça va")]
THOUGHTS = [user("Hi"), reply("Ho", reasoning_content="Why"), user("Bye"), reply("Oh", reasoning_content="So")]
SAME = [user("Hi"), reply("<think>\nWhy\n</think>\n\nHo"), user("Bye"), reply("<think>\nSo\n</think>\n\nOh")]
CALLS = [user("1 + 4"), reply("", tool_calls=[ADD]), RESULT, reply("It is 5")]
QWEN_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 4}}\n</tool_call><|im_end|>'
EMPTY = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, str] = {}

    def folder(name: str) -> str:
        if name not in made:
            made[name] = shaped_model(tmp_path_factory.mktemp("shape"), name)
        return made[name]

    return folder


@pytest.fixture
def make(models: Any, tmp_path: Path) -> Any:
    def data(shape: str, rows: list[dict[str, Any]], **options: Any) -> ChatData:
        folder = write_splits(tmp_path / "rows", {"train": rows, "validation": rows[:1]})
        return ChatData(dataset=folder, backbone=models(shape), **{"messages": "talk", "max_length": 1000, **options})

    return data


def learned(data: ChatData) -> list[list[str]]:
    """The text of each run of labelled tokens of each example of train."""
    data.setup()
    found = []
    for row in data.encoded["train"]:
        runs: list[list[int]] = []
        for i, (token, label) in enumerate(zip(row["input_ids"], row["labels"], strict=True)):
            assert label in (token, IGNORED)
            if label != IGNORED and (i == 0 or row["labels"][i - 1] == IGNORED):
                runs.append([])
            if label != IGNORED:
                runs[-1].append(token)
        found.append([data.tokenizer.decode(run) for run in runs])
    return found


def check_prompts(data: ChatData, talk: list[Message], tools: Any = None) -> None:
    """Each turn is learned behind the tokens with which a prediction begins."""
    given = {"talk": [talk[:i] for i, m in enumerate(talk) if m["role"] == "assistant" and i]}
    count = len(given["talk"])
    prompts = data.encode_inputs(given | ({"tools": [tools] * count} if tools else {}))["input_ids"]
    rows = list(data.encoded["train"])
    for prompt in prompts:
        behind = [row for row in rows if row["input_ids"][: len(prompt)] == prompt and row["labels"][len(prompt)] != IGNORED]
        assert behind, data.tokenizer.decode(prompt)
        assert all(row["labels"][len(prompt) - 1] == IGNORED for row in behind)
    assert rows[-1]["prompt_ids"] == prompts[-1]


SEVERAL = {
    "chatml": [["Hello\nyou<|im_end|>", "Ça va<|im_end|>"]],
    "llama3": [["Hello\nyou<|eot_id|>", "Ça va<|eot_id|>"]],
    "qwen2.5": [["Hello\nyou<|im_end|>", "Ça va<|im_end|>"]],
    "qwen3": [[f"{EMPTY}Hello\nyou<|im_end|>"], [f"{EMPTY}Ça va<|im_end|>"]],
    "mistral": [[" Hello\nyou</s>", " Ça va</s>"]],
    "gemma": [["Hello\nyou<end_of_turn>", "Ça va<end_of_turn>"]],
    "phi3": [["Hello\nyou<|end|>", "Ça va<|end|>"]],
    "phi4": [["Hello\nyou<|im_end|>", "Ça va<|im_end|>"]],
    "r1": [["\n</think>\n\nHello\nyou</s>"], ["\n</think>\n\nÇa va</s>"]],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_several_turns(make: Any, shape: str) -> None:
    data = make(shape, [{"talk": TURNS}])
    assert learned(data) == SEVERAL[shape]
    check_prompts(data, TURNS)
    last = [found[-1] for found in learned(make(shape, [{"talk": TURNS}], train_on="last"))]
    assert last == [SEVERAL[shape][-1][-1]]


@pytest.mark.parametrize("shape", SHAPES)
def test_systems(make: Any, shape: str) -> None:
    talk = [system("Be kind"), *TURNS]
    if shape == "gemma":
        with pytest.raises(UserError, match=r"row 1: the chat template does not accept the turns system, user, .*System role"):
            make(shape, [{"talk": talk}]).setup()
        return
    data = make(shape, [{"talk": talk}])
    found = learned(data)
    assert sorted(text for texts in found for text in texts) == sorted(text for texts in SEVERAL[shape] for text in texts)
    assert "Be kind" in data.tokenizer.decode(data.encoded["train"][-1]["prompt_ids"])
    check_prompts(data, talk)
    assert len(found) == {"qwen3": 2, "r1": 2, "mistral": 2}.get(shape, 1), (
        "Mistral moves the system message to the last question"
    )
    own = make(shape, [{"talk": TURNS, "system": "Be kind"}])
    assert learned(own) == found
    assert own.encoded["train"]["input_ids"][:] == data.encoded["train"]["input_ids"][:]


THOUGHT = {
    "qwen3": [["<think>\nWhy\n</think>\n\nHo<|im_end|>"], ["<think>\nSo\n</think>\n\nOh<|im_end|>"]],
    "r1": [["Why\n</think>\n\nHo</s>"], ["So\n</think>\n\nOh</s>"]],
    "chatml": [["<think>\nWhy\n</think>\n\nHo<|im_end|>"], ["<think>\nSo\n</think>\n\nOh<|im_end|>"]],
}


@pytest.mark.parametrize("shape", THOUGHT)
def test_reasoning(make: Any, shape: str) -> None:
    data = make(shape, [{"talk": THOUGHTS}])
    assert learned(data) == THOUGHT[shape], "earlier reasoning is learned where it is written, and not seen later"
    check_prompts(data, THOUGHTS)
    texts = [data.tokenizer.decode(ids) for ids in data.encoded["train"]["input_ids"][:]]
    assert "Why" in texts[0]
    assert "Why" not in texts[1]
    within = learned(make(shape, [{"talk": SAME}]))
    flat = [text for texts in THOUGHT[shape] for text in texts]
    assert within == ([flat] if shape == "chatml" else THOUGHT[shape]), "ChatML keeps what stands in the content"
    assert data.encoded["train"]["reference"][:] == [None, flat[-1].removesuffix("</s>").removesuffix("<|im_end|>").strip()]


def test_a_template_that_drops_what_was_thought(make: Any, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1].lstrip() }}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    found = learned(make("chatml", [{"talk": SAME}], template=str(tmp_path / "t.jinja")))
    assert found == THOUGHT["chatml"]


@pytest.mark.parametrize(
    ("shape", "content", "expected"),
    [
        ("qwen3", "Well <think>why</think> Ho", "Well <think>why</think> Ho<|im_end|>"),
        ("qwen3", "why\n</think>\n\nHo", "<think>\nwhy\n</think>\n\nHo<|im_end|>"),
        ("qwen3", "<think>why</think>Ho", "<think>\nwhy\n</think>\n\nHo<|im_end|>"),
        ("r1", "why\n</think>\n\nHo", "why\n</think>\n\nHo</s>"),
        ("r1", "<think>why</think>Ho", "why</think>Ho</s>"),
        ("r1", "<think>\n\n</think>\n\nHo", "\n</think>\n\nHo</s>"),
        ("chatml", "Well <think>why</think> Ho", "Well <think>why</think> Ho<|im_end|>"),
    ],
)
def test_forms_of_reasoning(make: Any, shape: str, content: str, expected: str) -> None:
    talk = [user("Say <think></think>"), reply(content)]
    data = make(shape, [{"talk": talk}])
    assert learned(data) == [[expected]]
    check_prompts(data, talk)


CALLED = {
    "llama3": [['{"name": "add", "parameters": {"a": 1, "b": 4}}<|eot_id|>', "It is 5<|eot_id|>"]],
    "qwen2.5": [[QWEN_CALL, "It is 5<|im_end|>"]],
    "qwen3": [[f"{EMPTY}{QWEN_CALL}"], [f"{EMPTY}It is 5<|im_end|>"]],
    "mistral": [['[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 4}}]</s>', " It is 5</s>"]],
    "r1": [
        ['\n</think>\n\n<|call|>function<|sep|>add\n```json\n{"a": 1, "b": 4}\n```<|end_of_call|></s>'],
        ["It is 5</s>"],
    ],
}


@pytest.mark.parametrize("shape", CALLED)
def test_tools(make: Any, shape: str) -> None:
    tools = None if shape == "r1" else TOOLS  # which describes them in no place of its own
    data = make(shape, [{"talk": CALLS} | ({"tools": tools} if tools else {})])
    assert learned(data) == CALLED[shape]
    check_prompts(data, CALLS, tools)
    prompt = data.tokenizer.decode(data.encoded["train"][-1]["prompt_ids"])
    assert ('"description": "Adds."' in prompt) == bool(tools)


@pytest.mark.parametrize("shape", ["chatml", "phi4", "r1", "gemma"])
def test_what_a_template_leaves_out_is_said(make: Any, shape: str) -> None:
    with pytest.raises(UserError, match=r"train row 2: the chat template (leaves out|does not accept)"):
        make(shape, [{"talk": TURNS, "tools": None}, {"talk": CALLS, "tools": TOOLS}]).setup()
    if shape == "chatml":
        with pytest.raises(UserError, match=r"row 1: the chat template leaves out the tools; name another data\.template,"):
            make(shape, [{"talk": TURNS, "tools": TOOLS}]).setup()
        with pytest.raises(UserError, match="row 1: the chat template leaves out the tool_calls of message 2, a turn of"):
            make(shape, [{"talk": CALLS}]).setup()
        kept = make(shape, [{"talk": TURNS}, {"talk": CALLS}], on_bad_rows="drop")
        assert len(kept.rows["train"]) == 1


def test_calls_beside_content(make: Any) -> None:
    talk = [user("1 + 4"), reply("Let me add", tool_calls=[ADD]), RESULT, reply("It is 5")]
    assert learned(make("qwen2.5", [{"talk": talk}])) == [[f"Let me add\n{QWEN_CALL}", "It is 5<|im_end|>"]]
    with pytest.raises(UserError, match="row 1: the chat template leaves out the content of message 2, a turn of"):
        make("llama3", [{"talk": talk}]).setup()


def test_sharegpt_with_tools(make: Any) -> None:
    values = ["1 + 4", '{"name": "add", "arguments": {"a": 1, "b": 4}}', "5", "It is 5"]
    roles = ["human", "function_call", "observation", "gpt"]
    talk = [{"from": role, "value": value} for role, value in zip(roles, values, strict=True)]
    bare = (
        '[{"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}]'
    )
    data = make("qwen2.5", [{"talk": talk, "functions": bare}], tools="functions")
    assert learned(data) == CALLED["qwen2.5"]
    assert '{"type": "function", "function": {"name": "add"' in data.tokenizer.decode(data.encoded["train"][0]["input_ids"])
    assert data.encoded["train"][0]["reference"] == "It is 5"
    ends = make("qwen2.5", [{"talk": talk[:2]}])
    ends.setup()
    assert ends.encoded["train"][0]["reference"] == QWEN_CALL.removesuffix("<|im_end|>")


def test_objects_of_a_column_do_not_get_the_keys_of_others(make: Any) -> None:
    other = {"type": "function", "function": {"name": "say", "parameters": {"properties": {"word": {"type": "string"}}}}}
    called = {**ADD, "function": {"name": "say", "arguments": {"a": "Hi", "b": None}}}
    talk = [
        user("Say"),
        reply("", tool_calls=[called]),
        {"role": "tool", "content": [{"type": "text", "text": "Hi"}]},
        reply("Ho"),
    ]
    data = make("qwen2.5", [{"talk": CALLS, "tools": TOOLS}, {"talk": TURNS, "tools": [other]}, {"talk": talk, "tools": None}])
    data.setup()
    texts = [data.tokenizer.decode(ids) for ids in data.encoded["train"]["input_ids"][:]]
    assert not any("null" in text for text in texts[:2])
    assert '"arguments": {"a": "Hi", "b": null}}' in texts[2]
    assert '{"name": "say", "parameters": {"properties": {"word": {"type": "string"}}}}' in texts[1]


@pytest.mark.parametrize("shape", ["chatml", "llama3", "qwen2.5", "qwen3", "phi3", "phi4"])
def test_conversations_that_begin_with_the_assistant(make: Any, shape: str) -> None:
    talk = [reply("Welcome"), user("Hi"), reply("Ho")]
    data = make(shape, [{"talk": talk}])
    end = SEVERAL[shape][0][0].removeprefix(EMPTY).removeprefix("Hello\nyou")
    assert learned(data) == [[f"Welcome{end}", f"{EMPTY if shape == 'qwen3' else ''}Ho{end}"]]
    check_prompts(data, talk)
    with pytest.raises(UserError, match="begins with a turn of the assistant and has no other to be trained"):
        make(shape, [{"talk": talk[:1]}]).setup()


def test_weights(make: Any) -> None:
    for key, no, yes in (("weight", 0, 1), ("train", False, True), ("loss", False, None)):
        first = [user("Hi"), reply("Bad", **{key: no}), user("Hm"), reply("Good", **{key: yes})]
        assert learned(make("chatml", [{"talk": first}])) == [["Good<|im_end|>"]]
        last = make("chatml", [{"talk": [user("Hi"), reply("Good"), user("Hm"), reply("Bad", **{key: no})]}])
        assert learned(last) == [["Good<|im_end|>"]]
        assert last.encoded["train"][0]["reference"] == "Good"
        assert last.record_at("train", 0)["label"] == "Good"
        (whole,) = learned(make("chatml", [{"talk": first}], train_on="all"))
        assert whole[1].startswith("\n<|im_start|>user\nHm")
        assert not any("Bad" in text for text in whole)


def test_only_turns_of_the_assistant_are_excluded_from_all(make: Any) -> None:
    talk = [{**user("Hi"), "weight": 0}, reply("Ho")]
    assert learned(make("chatml", [{"talk": talk}])) == [["Ho<|im_end|>"]]
    with pytest.raises(
        UserError, match=r"row 1: message 1, a turn of the user, is to have no loss, but with data\.train_on: all"
    ):
        make("chatml", [{"talk": talk}], train_on="all").setup()


def test_a_last_text_that_is_cut_away_keeps_its_reply(make: Any) -> None:
    talk = [*THOUGHTS[:2], user("x" * 80), reply("Oh")]
    data = make("qwen3", [{"talk": talk}, {"talk": THOUGHTS[:2]}], max_length=64)
    assert learned(data) == [THOUGHT["qwen3"][0], THOUGHT["qwen3"][0]]
    train = data.encoded["train"]
    assert train["reference"][:] == ["<think>\n\n</think>\n\nOh", "<think>\nWhy\n</think>\n\nHo"]
    assert data.tokenizer.decode(train["prompt_ids"][0]).endswith("xxx<|im_end|>\n<|im_start|>assistant\n")
    assert data.counts("train") == {"prompts cut at data.max_length 64": 1}


@pytest.mark.parametrize(
    ("talk", "problem"),
    [
        ([user("Hi"), reply("<think>So</think>Ho", reasoning_content="Why")], "message 2 .* remove one of them"),
        ([user("Hi"), reply("Ho", weight=0.5)], "message 2 in column 'talk' has weight 0.5; expected 0 or 1"),
        ([user("Hi"), reply("Ho", train="no")], "message 2 in column 'talk' has train 'no'; expected true or false"),
        (
            [{**user("Hi"), "train": True}, reply("Ho")],
            "message 1 .* has train True, but only turns of the assistant are",
        ),
        ([user("Hi"), reply("Ho", weight=0)], "no turn of the assistant counts in the loss"),
        (
            [user("Hi"), reply("", tool_calls=[{"type": "function"}])],
            "message 2 in column 'talk' holds a call of a tool .* with",
        ),
        (
            [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": "add"}],
            "not the JSON text of an object",
        ),
        (
            [{"role": "user", "content": [{"type": "image", "text": None}]}, reply("Ho")],
            "has a part of type 'image'; only",
        ),
    ],
)
def test_messages_that_cannot_be_read(make: Any, talk: list[Any], problem: str) -> None:
    with pytest.raises(UserError, match=f"train row 1: .*{problem}"):
        make("qwen2.5", [{"talk": talk}]).setup()


def test_parts_and_roles_of_ones_own(make: Any) -> None:
    parts = [{"role": "customer", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "you"}]}]
    answer = [{"role": "clerk", "content": [{"type": "text", "text": "Ho"}]}]
    roles = {"customer": "user", "clerk": "assistant"}
    data = make("chatml", [{"talk": [*parts, *answer]}], roles=roles)
    assert learned(data) == [["Ho<|im_end|>"]]
    assert "user\nHi you<|im_end|>" in data.tokenizer.decode(data.encoded["train"][0]["input_ids"])
    with pytest.raises(UserError, match=r"has the role 'customer'; known are system, user, .*; data\.roles names others"):
        make("chatml", [{"talk": [*parts, *answer]}]).setup()
    with pytest.raises(UserError, match=r"data\.roles maps 'clerk' to 'asistant'; expected one of system, user, assistant"):
        make("chatml", [{"talk": TURNS}], roles={"clerk": "asistant"})


def test_a_row_with_two_systems(make: Any) -> None:
    rows = [{"talk": [system("Be kind"), *TURNS], "system": "Be rude"}]
    with pytest.raises(UserError, match=r"row 1: column 'system' and the first message are two different system messages"):
        make("chatml", rows).setup()
    kind = make("chatml", rows, system_column=None)
    kind.setup()
    assert "Be kind" in kind.tokenizer.decode(kind.encoded["train"][0]["input_ids"])
    plain = make("chatml", [{"talk": TURNS, "system": None}, {"talk": TURNS, "system": "Be rude"}], system="Be brief")
    plain.setup()
    texts = [plain.tokenizer.decode(ids) for ids in plain.encoded["train"]["input_ids"][:]]
    assert ["Be brief" in texts[0], "Be rude" in texts[1], "Be brief" in texts[1]] == [True, True, False]

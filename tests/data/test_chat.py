"""Conversations as tokens: what is a label, by hand-made examples; forms of rows; what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from ftlit.data import ChatData
from ftlit.data.batches.chat_packing import pack_examples
from ftlit.data.chats.templates import BUILT_IN
from ftlit.errors import UserError
from ftlit.util.batch import IGNORED
from tests.support.chats import SPECIAL, byte_tokenizer, chat_model, echoes
from tests.support.data import write_splits

TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello\nyou"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Ça va"},
]
IGNORES_THOUGHTS = (  # of earlier turns, as templates of reasoning models do
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if not loop.last %}{{ m.content.replace('you', '') }}{% else %}"
    "{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content if loop.last else m.content.replace('you', '') }}<|im_end|>{% endgeneration %}{% else %}"
    "{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ALTERNATES = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}{{ m.content }}</s>{% endfor %}"
)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return chat_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def make(backbone: str, tmp_path: Path) -> Any:
    """Chat data of some rows of train, the first again as validation."""

    def data(rows: list[dict[str, Any]], **options: Any) -> ChatData:
        folder = write_splits(tmp_path / "rows", {"train": rows, "validation": rows[:1]})
        return ChatData(**{"dataset": folder, "backbone": backbone, "template": "chatml", "max_length": 256, **options})

    return data


def learned(data: ChatData, i: int = 0) -> list[str]:
    """The text of each run of labelled tokens of an example of train."""
    data.setup()
    row = data.encoded["train"][i]
    runs: list[list[int]] = [[]]
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        assert label in (token, IGNORED)
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(token)
    return [data.tokenizer.decode(run) for run in runs if run]


def test_chatml_token_by_token(make: Any) -> None:
    data = make([{"talk": TALK}], messages="talk")
    data.setup()
    row = data.encoded["train"][0]
    start, end = SPECIAL.index("<|im_start|>"), SPECIAL.index("<|im_end|>")

    def text(letters: str) -> list[int]:
        return data.tokenizer(letters, add_special_tokens=False)["input_ids"]

    turns = [
        ([start, *text("user\nHi"), end, *text("\n"), start, *text("assistant\n")], [*text("Hello\nyou"), end]),
        ([*text("\n"), start, *text("user\nBye"), end, *text("\n"), start, *text("assistant\n")], [*text("Ça va"), end]),
    ]
    assert row["input_ids"] == [*turns[0][0], *turns[0][1], *turns[1][0], *turns[1][1], *text("\n")]
    masks = [[IGNORED] * len(given) + reply for given, reply in turns]
    assert row["labels"] == [*masks[0], *masks[1], IGNORED]
    assert row["loss_weights"] == len("Hello\nyou") + len("Ça va".encode()) + 2
    assert row["bytes"] == row["loss_weights"] - 2, "the closing tokens are no text"


@pytest.mark.parametrize(
    ("template", "whole", "replies"),
    [
        (
            "llama2",
            "<s>[INST] <<SYS>>\nBe kind\n<</SYS>>\n\nHi [/INST] Hello\nyou </s><s>[INST] Bye [/INST] Ça va </s>",
            [" Hello\nyou </s>", " Ça va </s>"],
        ),
        (
            "llama3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
            "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello\nyou<|eot_id|><|start_header_id|>user"
            "<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nÇa va<|eot_id|>",
            ["Hello\nyou<|eot_id|>", "Ça va<|eot_id|>"],
        ),
        (
            "alpaca",
            "Be kind\n\n### Instruction:\nHi\n\n### Response:\nHello\nyou</s>\n\n### Instruction:\nBye\n\n"
            "### Response:\nÇa va</s>\n\n",
            ["Hello\nyou</s>", "Ça va</s>"],
        ),
    ],
)
def test_other_templates(make: Any, template: str, whole: str, replies: list[str]) -> None:
    data = make([{"talk": TALK}], messages="talk", template=template, system="Be kind")
    assert learned(data) == replies
    assert data.tokenizer.decode(data.encoded["train"][0]["input_ids"]) == whole


def test_prompt_is_what_stands_before_the_last_reply(make: Any) -> None:
    for template in BUILT_IN:
        data = make([{"talk": TALK}], messages="talk", template=template)
        data.setup()
        row = data.encoded["train"][0]
        prompt = row["prompt_ids"]
        assert row["input_ids"][: len(prompt)] == prompt
        assert row["labels"][len(prompt) - 1] == IGNORED != row["labels"][len(prompt)]
        assert row["reference"] == "Ça va"
        assert (
            data.encode_inputs({"talk": [TALK[:3]]})["prompt_ids"]
            == [prompt]
            == data.encode_inputs({"talk": [TALK]})["input_ids"]
        )


def test_train_on(make: Any) -> None:
    assert learned(make([{"talk": TALK}], messages="talk", train_on="last")) == ["Ça va<|im_end|>"]
    (whole,) = learned(make([{"talk": TALK}], messages="talk", train_on="all"))
    assert whole.startswith("user\nHi<|im_end|>"), "nothing stands before the first token, so that it is not predicted"


def test_bytes_of_all_are_those_of_the_text_behind_the_first_token(make: Any) -> None:
    data = make([{"talk": TALK}, {"talk": TALK[:2]}], messages="talk", train_on="all")
    data.setup()
    whole = ["user\nHi", "\n", "assistant\nHello\nyou", "\n", "user\nBye", "\n", "assistant\nÇa va", "\n"]
    assert data.encoded["train"]["bytes"][:] == [sum(len(text.encode()) for text in texts) for texts in (whole, whole[:4])]
    alpaca = make([{"talk": TALK[:2]}], messages="talk", train_on="all", template="alpaca")
    alpaca.setup()
    text = "### Instruction:\nHi\n\n### Response:\nHello\nyou\n\n"
    assert alpaca.encoded["train"]["bytes"][:] == [len(text) - 1], "the first token is the first sign, which is not predicted"


def test_special_tokens_that_the_tokenizer_does_not_name_are_no_text(make: Any) -> None:
    talk = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody"}]
    data = make([{"talk": talk}], messages="talk")
    backend = byte_tokenizer().backend_tokenizer
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    data.__dict__["tokenizer"] = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    assert SPECIAL.index("<|im_end|>") not in data.tokenizer.all_special_ids
    data.setup()
    assert data.encoded["train"]["bytes"][:] == [len("Nobody")]


def test_what_changes_the_features_changes_the_key_of_the_cache(make: Any) -> None:
    rows = [{"talk": TALK, "said": ["Hi", "Ho"], "q": "Hi", "i": "x", "a": "Ho"}]
    pair = {"messages": None, "prompt": "q", "response": "a"}
    changes: list[dict[str, Any]] = [
        *({}, {"max_length": 64}, {"template": "alpaca"}, {"system": "Be kind"}, {"train_on": "last"}, {"train_on": "all"}),
        *({"messages": None, "dialog": "said"}, pair, {**pair, "prompt": "i"}, {**pair, "response": "i"}),
        {**pair, "prompt_input": "i"},
    ]
    keys = [str(make(rows, **{"messages": "talk", **change}).encoding_settings()) for change in changes]
    assert len(set(keys)) == len(changes)
    assert str(make(rows, messages="talk", packing=True, order_seed=3).encoding_settings()) == keys[0]


def test_no_second_bos(make: Any) -> None:
    data = make([{"talk": TALK}], messages="talk", template="llama2")
    begins = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    data.tokenizer.backend_tokenizer.post_processor = begins
    assert data.tokenizer("Hi")["input_ids"][0] == 1
    data.setup()
    for name in ("input_ids", "prompt_ids"):
        assert data.encoded["train"][0][name].count(1) == 2, "one of each turn, by the template"


def test_forms_of_rows(make: Any) -> None:
    sharegpt = [{"from": {"user": "human"}.get(m["role"], "gpt"), "value": m["content"]} for m in TALK]
    given = [
        ({"messages": "x"}, {"x": TALK}),
        ({"messages": "x"}, {"x": sharegpt}),
        ({"dialog": "x"}, {"x": [m["content"] for m in TALK]}),
    ]
    assert len({tuple(learned(make([row], **keys))) for keys, row in given}) == 1
    rows = [{"q": "Add", "i": "1 and 2", "a": "3"}, {"q": "Hi", "i": "", "a": "Ho"}, {"q": "Hi", "i": None, "a": "Ho"}]
    data = make(rows, prompt="q", prompt_input="i", response="a")
    assert [data.conversation(row)[0]["content"] for row in rows] == ["Add\n1 and 2", "Hi", "Hi"]
    assert learned(data) == ["3<|im_end|>"]
    assert data.row_from_text("Hi") == {"q": "Hi"}
    assert data.validate_inputs(data.row_from_text("Hi")) is None


def test_a_turn_that_is_written_differently_later_has_a_text_of_its_own(make: Any, tmp_path: Path) -> None:
    forgetful, marked = tmp_path / "a.jinja", tmp_path / "b.jinja"
    forgetful.write_text(IGNORES_THOUGHTS)
    marked.write_text(MARKED)
    data = make([{"talk": TALK}, {"talk": TALK[:2]}], messages="talk", template=str(forgetful))
    assert [learned(data, i) for i in range(3)] == [["Hello\nyou<|im_end|>"], ["Ça va<|im_end|>"], ["Hello\nyou<|im_end|>"]]
    train = data.encoded["train"]
    assert train["row"][:] == [0, 0, 1]
    assert train["reference"][:] == [None, "Ça va", "Hello\nyou"]
    assert [len(ids) > 0 for ids in train["prompt_ids"][:]] == [False, True, True]
    assert train["input_ids"][1][: len(train["prompt_ids"][1])] == train["prompt_ids"][1]
    assert data.counts("train") == {}
    only_last = make([{"talk": TALK}], messages="talk", template=str(forgetful), train_on="last")
    assert learned(only_last) == ["Ça va<|im_end|>"]
    assert learned(make([{"talk": TALK}], messages="talk", template=str(marked))) == ["Hello\n<|im_end|>", "Ça va<|im_end|>"]


def test_a_prompt_that_no_turn_begins_with_needs_marks(make: Any, tmp_path: Path) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
    )
    (tmp_path / "a.jinja").write_text(source)
    with pytest.raises(UserError, match=r"data\.template: the chat template renders a turn of the assistant differently"):
        make([{"talk": TALK}], messages="talk", template=str(tmp_path / "a.jinja")).setup()


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% for m in messages %}{{ m.content }", "unexpected '}' (line 1 of the template)"),
        ("{{ messages[0].content + 1 }}", 'can only concatenate str (not "int") to str'),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ raise_exception('not\ntoday') }}", "not today"),
        ("{{ messages.pop() }}", "access to attribute 'pop' of 'list' object is unsafe."),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
    ],
)
def test_templates_that_raise(make: Any, tmp_path: Path, source: str, problem: str) -> None:
    (tmp_path / "t.jinja").write_text(source)
    with pytest.raises(UserError) as caught:
        make([{"talk": TALK}], messages="talk", template=str(tmp_path / "t.jinja")).setup()
    assert str(caught.value) == f"data.template: the chat template does not accept the turns user, assistant: {problem}"


def test_a_template_that_raises_for_a_text(make: Any, tmp_path: Path) -> None:
    source = "{% for m in messages %}{% if m.content == 'Bye' %}{{ 1 / 0 }}{% endif %}{% endfor %}"
    (tmp_path / "t.jinja").write_text(source + BUILT_IN["chatml"])
    with pytest.raises(UserError, match=r"train row 2: the chat template does not accept the conversation: division by zero"):
        make([{"talk": TALK[:2]}, {"talk": TALK}], messages="talk", template=str(tmp_path / "t.jinja")).setup()


def test_special_tokens_that_swallow_white_space(make: Any) -> None:
    talks = [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}] for text in ("yo", "  yo", "Ça  va ")]
    data = make([{"talk": talk} for talk in talks], messages="talk", template="chatml")
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(SPECIAL[:3]).backend_tokenizer, **names)
    tokenizer.add_tokens(
        [
            AddedToken("<|im_start|>assistant", rstrip=True, normalized=False, special=True),
            AddedToken("<|im_start|>", normalized=False, special=True),
            AddedToken("<|im_end|>", lstrip=True, rstrip=True, normalized=False, special=True),
        ],
        special_tokens=True,
    )
    data.__dict__["tokenizer"] = tokenizer
    assert learned(data, 0) == learned(data, 1) == ["yo<|im_end|>"], "the header has no loss"
    assert learned(data, 2) == ["Ça  va<|im_end|>"]
    train = data.encoded["train"]
    assert train["bytes"][:] == [2, 4, len("Ça  va ".encode())], "those of the text itself"
    assert train["reference"][:] == ["yo", "yo", "Ça  va"]
    for row in train:
        assert row["input_ids"][: len(row["prompt_ids"])] == row["prompt_ids"]
    whole = make([{"talk": talk} for talk in talks[:2]], messages="talk", template="chatml", train_on="all")
    whole.__dict__["tokenizer"] = tokenizer
    whole.setup()
    text = "user\nHi\n\n{}\n"
    assert whole.encoded["train"]["bytes"][:] == [len(text.format("yo")), len(text.format("  yo"))]


def test_no_token_reaches_from_a_prompt_into_its_reply(make: Any) -> None:
    talk = [{"role": role, "content": "\n\nyo"} for role in ("user", "assistant")] * 2
    data = make([{"talk": talk}], messages="talk")
    state = json.loads(data.tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"], state["model"]["vocab"]["ĊĊ"] = [["Ċ", "Ċ"]], 269
    data.tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    assert data.tokenizer("a\n\n\nb", add_special_tokens=False)["input_ids"][1] == 269
    assert learned(data) == ["\n\nyo<|im_end|>"] * 2
    row = data.encoded["train"][0]
    assert row["bytes"] == 2 * len("\n\nyo")
    prompts = data.encode_inputs({"talk": [talk[:1], talk[:3]]})["input_ids"]
    assert prompts[1] == row["prompt_ids"]
    for prompt in prompts:
        assert row["input_ids"][: len(prompt)] == prompt
        assert row["labels"][len(prompt) - 1] == IGNORED != row["labels"][len(prompt)]
    assert data.reference({"talk": talk}) == "yo"


def test_replies_are_written_as_generation_writes_them(make: Any) -> None:
    def references(**options: Any) -> list[str]:
        data = make([{"q": "Call", "a": "<call>7</call>"}, {"q": "Hi", "a": " Ho "}], prompt="q", response="a", **options)
        data.setup()
        found = data.encoded["train"]["reference"][:]
        assert [data.record_at("train", i)["label"] for i in range(2)] == found
        return found

    assert references() == ["<call>7</call>", "Ho"]
    tokens = {"add_tokens": ["<call>", "</call>"]}
    assert references(**tokens) == ["7", "Ho"]
    assert references(**tokens, keep_special_tokens=True) == ["<call>7</call>", "Ho"]


def test_added_tokens_are_tokens(make: Any) -> None:
    data = make(
        [{"q": "Call", "a": "<call>7</call>"}], prompt="q", response="a", add_tokens=["<call>", "<|im_end|>", "</call>"]
    )
    data.setup()
    labels = [label for label in data.encoded["train"][0]["labels"] if label != IGNORED]
    assert data.tokenizer.convert_ids_to_tokens(labels) == ["<call>", "7", "</call>", "<|im_end|>"]
    assert data.encoded["train"][0]["bytes"] == 1
    for wrong in ("", " <call>"):
        with pytest.raises(UserError, match=r"data\.add_tokens holds .*; expected texts that do not begin or end with"):
            _ = make([{"q": "Hi", "a": "Ho"}], prompt="q", response="a", add_tokens=[wrong]).tokenizer


@pytest.mark.parametrize("template", [*BUILT_IN, "own", "file"])
def test_texts_begin_as_the_tokenizer_begins_them(make: Any, tmp_path: Path, template: str) -> None:
    (tmp_path / "t.jinja").write_text(BUILT_IN["chatml"])
    name = {"own": None, "file": str(tmp_path / "t.jinja")}.get(template, template)

    def begin(**options: Any) -> list[bool]:
        data = make([{"talk": TALK}], messages="talk", template=name, **options)
        data.tokenizer.chat_template = BUILT_IN["chatml"] if name is None else None
        data.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
        data.setup()
        row = data.encoded["train"][0]
        assert row["input_ids"][: len(row["prompt_ids"])] == row["prompt_ids"]
        assert row["input_ids"][1] != 1
        asked = data.encode_inputs({"talk": [TALK[:1]]})["input_ids"][0]
        assert row["labels"][: len(asked)] == [IGNORED] * len(asked)
        return [ids[0] == 1 for ids in (row["input_ids"], row["prompt_ids"], asked)]

    always = template in ("llama2", "llama3")
    assert begin() == [template != "own"] * 3
    assert begin(add_bos=True) == [True] * 3
    assert begin(add_bos=False) == [always] * 3


def test_templates_that_cannot_be_used(make: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no chat template; set data\.template to one of chatml, llama2, llama3, alpaca"):
        make([{"talk": TALK}], messages="talk", template=None).setup()
    with pytest.raises(UserError, match=r"'chatlm' is neither a file nor a built-in template\. Did you mean 'chatml'\?"):
        make([{"talk": TALK}], messages="talk", template="chatlm").setup()
    endless = tmp_path / "endless.jinja"
    endless.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    with pytest.raises(UserError, match=r"with a special token of this tokenizer, so that the model could not learn where to"):
        make([{"talk": TALK}], messages="talk", template=str(endless)).setup()


def test_stop_ids(make: Any) -> None:
    ends = {"chatml": "<|im_end|>", "llama2": "</s>", "llama3": "<|eot_id|>", "alpaca": "</s>"}
    assert {name: make([{"x": TALK}], messages="x", template=name).stop_id for name in ends} == {
        name: SPECIAL.index(token) for name, token in ends.items()
    }


@pytest.mark.parametrize(
    ("talk", "problem"),
    [
        ([], "the conversation in column 'talk' is empty"),
        (TALK[1:2], "the conversation begins with a turn of the assistant and has no other to be trained"),
        (TALK[:1], "the conversation has no turn of the assistant"),
        ([{"role": "system", "content": "x"}], "the conversation has no turn of the user"),
        ([*TALK, {"role": "system", "content": "x"}], "message 5 is a system message, which may only come first"),
        ([TALK[0], {"role": "bot", "content": "x"}], "message 2 in column 'talk' has the role 'bot'; known are system, user"),
        ([TALK[0], {"role": "assistant", "content": " "}], "message 2 in column 'talk' is empty"),
        ([TALK[0], {"role": "assistant", "content": None}], "message 2 in column 'talk' holds None, not a text"),
    ],
)
def test_bad_conversations(make: Any, talk: list[Any], problem: str) -> None:
    with pytest.raises(UserError) as caught:
        make([{"talk": TALK}, {"talk": talk}], messages="talk").setup()
    assert f"train row 2: {problem}" in str(caught.value)
    kept = make([{"talk": TALK}, {"talk": talk}], messages="talk", on_bad_rows="drop")
    assert len(kept.rows["train"]) == 1


def test_roles_that_the_template_forbids(make: Any, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(ALTERNATES)
    twice = [TALK[0], TALK[0], TALK[1]]
    with pytest.raises(UserError, match="row 2: the chat template does not accept the turns user, user, assistant: roles must"):
        make([{"talk": TALK}, {"talk": twice}], messages="talk", template=str(tmp_path / "t.jinja")).setup()
    assert learned(make([{"talk": twice}], messages="talk")) == ["Hello\nyou<|im_end|>"], "ChatML takes them"


def test_keys_that_do_not_go_together(make: Any) -> None:
    with pytest.raises(UserError, match=r"set one of data\.messages, data\.dialog and data\.prompt .*, got none"):
        make([{"x": "y"}])
    with pytest.raises(UserError, match="got messages and dialog"):
        make([{"x": "y"}], messages="x", dialog="x")
    with pytest.raises(UserError, match=r"data\.prompt and data\.response go together"):
        make([{"x": "y"}], prompt="x")
    with pytest.raises(UserError, match="the text in column 'answer' is empty"):
        make([{"question": "x", "answer": ""}], prompt="question", response="answer").setup()


def test_new_rows_need_a_turn_to_reply_to(make: Any) -> None:
    data = make([{"talk": TALK}], messages="talk")
    assert data.validate_inputs({"talk": TALK}) is None
    assert data.validate_inputs({"talk": TALK[:1]}) is None
    assert data.validate_inputs({"talk": TALK[1:3]}) is None, "it may begin with the assistant"
    assert "ends with no turn of the user" in data.validate_inputs({"talk": TALK[1:2] * 2})
    assert "ends with no turn of the user" in data.validate_inputs({"talk": TALK[1:2]})
    assert data.validate_inputs({}) == "the conversation in column 'talk' is empty"
    assert "ends with no turn of the user" in data.validate_inputs({"talk": [*TALK, TALK[1]]})


def test_cut_conversations(make: Any) -> None:
    rows = [{"q": "Hi", "a": "x" * 60}, {"q": "H" * 90, "a": "lost"}, {"q": "Hi", "a": "Ho"}]
    data = make(rows, prompt="q", response="a", max_length=64)
    data.setup()
    train = data.encoded["train"]
    assert train["row"][:] == [0, 2]
    assert train["truncated"][:] == [True, False]
    assert max(map(len, train["input_ids"])) == 64
    assert train["bytes"][0] == train["loss_weights"][0] == sum(label != IGNORED for label in train["labels"][0])
    assert data.counts("train") == {"conversations left out, whose replies lie behind data.max_length 64": 1}
    with pytest.raises(UserError, match=r"all labels masked: none of the 1 conversations .* data\.max_length 64; raise"):
        make(rows[1:2], prompt="q", response="a", max_length=64).setup()


def test_prompts_that_are_cut_are_told(make: Any) -> None:
    long = [{"role": "user", "content": "H" * 90}, {"role": "assistant", "content": "Ho"}]
    rows = [{"talk": [*TALK[:2], *long]}, {"talk": TALK[:2]}]
    data = make(rows, messages="talk", max_length=64)
    data.setup()
    assert data.counts("train") == {"prompts cut at data.max_length 64": 1}
    assert data.encoded["train"]["prompt_truncated"][:] == [True, False]
    features = data.encode_inputs({"talk": [row["talk"][:-1] for row in rows]})
    assert features["truncated"] == [True, False]
    assert features["input_ids"] == data.encoded["train"]["prompt_ids"]
    assert len(features["input_ids"][0]) == 64
    assert data.tokenizer.decode(features["input_ids"][0]).endswith("HH<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("answer", ["", None, 3])
def test_new_rows_may_have_any_answer(make: Any, answer: Any) -> None:
    data = make([{"q": "Hi", "a": "Ho"}], prompt="q", response="a")
    assert data.validate_inputs({"q": "Hi", "a": answer}) is None
    assert data.validate_row({"q": "Hi", "a": answer}) is not None
    given = data.encode_inputs({"q": ["Hi"], "a": [answer]})
    assert given == data.encode_inputs({"q": ["Hi"]}) == data.encode_inputs({"q": ["Hi"], "a": ["Ho"]})
    assert data.tokenizer.decode(given["input_ids"][0]).endswith("Hi<|im_end|>\n<|im_start|>assistant\n")


def test_blocks_are_full_and_hold_each_example_once() -> None:
    assert pack_examples([3, 9, 4, 2, 7], 10) == [[1], [4, 0], [2, 3]]
    assert pack_examples([10, 10], 10) == [[0], [1]]


def test_packed_batch(make: Any) -> None:
    from ftlit.data.batches.batching import MicroBatch

    data = make(echoes(6, 0), prompt="question", response="answer", packing=True, max_length=128)
    data.setup()
    columns = data.encoded["train"][:]
    batch = data.collate(columns, MicroBatch(list(range(6)), 1.0, epoch=0))
    assert batch["tokens"] == sum(map(len, columns["input_ids"]))
    assert len(batch["input_ids"]) < 6
    assert "attention_mask" not in batch
    assert (batch["labels"] != IGNORED).sum() == sum(columns["loss_weights"])
    starts = (batch["position_ids"] == 0) & (batch["input_ids"] != 0)
    assert starts.sum() == 6
    assert (batch["labels"][starts] == IGNORED).all()
    assert data.collate(columns, MicroBatch(list(range(6)), 1.0))["input_ids"].shape[0] == 6, "evaluation is not packed"

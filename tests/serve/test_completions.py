"""Texts over HTTP in OpenAI's form: those of `predict`, streamed or not, in any company; what is refused, and how."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import ftlit
from ftlit.exports.predicting.predictor import Predictor
from ftlit.models.generation import Generation
from ftlit.serve.guard import State
from tests.support.chats import chat_model, echoes
from tests.support.data import write_splits
from tests.support.serving import Served, run, serving, untrained

CHAT, PROMPTS = "/v1/chat/completions", "/v1/completions"
ASKED = [row["question"] for row in echoes(6, 3)]
SHORT = Generation(max_new_tokens=12)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Predictor]:
    """A predictor for replies, with the form of its rows and its settings of generation."""
    folder = tmp_path_factory.mktemp("chats")
    backbone, source = chat_model(folder / "llama"), write_splits(folder / "data", {"train": echoes(9, 0)})

    def made(generation: Generation = SHORT, **columns: Any) -> Predictor:
        columns = columns or {"prompt": "question", "response": "answer"}
        data = ftlit.ChatData(dataset=source, backbone=backbone, template="chatml", **columns)
        return untrained("CausalLM", data, generation=generation)

    return made


@pytest.fixture(scope="module")
def predictor(chats: Callable[..., Predictor]) -> Predictor:
    return chats()


def said(text: str, **more: Any) -> dict[str, Any]:
    """A request for a reply to one message."""
    return {"model": "model", "messages": [{"role": "user", "content": text}], **more}


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream, which ends as it should."""
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    *lines, end = response.text.strip().split("\n\n")
    assert end == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def streamed(response: httpx.Response, i: int = 0) -> tuple[str, str | None]:
    """The text of a stream, and why it ended."""
    choices = [choice for one in events(response) for choice in one["choices"] if choice["index"] == i]
    texts = [choice["text"] if "text" in choice else choice["delta"].get("content", "") for choice in choices]
    assert not any(choice["finish_reason"] for choice in choices[:-1])
    return "".join(texts), choices[-1]["finish_reason"]


def text_of(response: httpx.Response, i: int = 0) -> str:
    assert response.status_code == 200, response.text
    choice = response.json()["choices"][i]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


def refused(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a response."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json"), response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return dict(error)


def predictions(predictor: Predictor, rows: list[Any]) -> list[str]:
    return [row["prediction"] for row in predictor(rows, batch_size=1)]


# The texts


@pytest.mark.parametrize("more", [{}, {"no_repeat_ngram_size": 2, "repetition_penalty": 1.5, "min_new_tokens": 3}], ids=str)
def test_replies_are_those_of_predict_in_any_company(chats: Callable[..., Predictor], more: dict[str, Any]) -> None:
    predictor = chats(Generation(max_new_tokens=12, **more))
    expected = predictions(predictor, ASKED)

    async def at_once(server: Served) -> list[httpx.Response]:
        other = {"temperature": 1.5, "max_tokens": 20}
        bodies = [body for i, text in enumerate(ASKED) for body in (said(text, stream=i % 2 == 0), said(text * 3, **other))]
        async with server.client() as client:
            return await asyncio.gather(*(client.post(CHAT, json=body) for body in bodies))

    with serving(predictor, batch_tokens=400) as server:
        found = run(at_once(server))
        rows = server.counted('ftlit_batch_rows_sum{model="model"}')
        assert server.counted('ftlit_batch_rows_count{model="model"}') < rows == 2 * len(ASKED)
    texts = [streamed(one)[0] if i % 2 == 0 else text_of(one) for i, one in enumerate(found[::2])]
    assert texts == expected
    assert all(0 < response.json()["usage"]["completion_tokens"] <= 20 for response in found[1::2])


@pytest.mark.parametrize("columns", [{"messages": "turns"}, {"dialog": "lines"}], ids=str)
def test_conversations_have_the_form_of_messages_whatever_the_data_have(
    chats: Callable[..., Predictor], columns: dict[str, str]
) -> None:
    predictor = chats(system="Be brief.", **columns)
    lines = ["Say a", "a", "Say bb"]
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), lines, strict=True)]
    [expected] = predictions(predictor, [{"turns": turns, "lines": lines}])
    with serving(predictor) as server:
        parts = [{**turns[0], "content": [{"type": "text", "text": "Say a"}]}, *turns[1:]]
        for messages in (turns, parts, [{"role": "developer", "content": "Be brief."}, *turns]):
            whole = server.ask("POST", CHAT, json={"messages": messages})
            assert text_of(whole) == expected
        other = server.ask("POST", CHAT, json={"messages": [{"role": "system", "content": "Be."}, *turns]})
        lengths = [found.json()["usage"]["prompt_tokens"] for found in (whole, other)]
        assert lengths[0] - lengths[1] == len(" brief")  # each character is a token
        assert server.ask("GET", "/schema").json()["chat"] is True


def test_raw_text_is_continued(chats: Callable[..., Predictor], tiny: Callable[[str], str], sentiment: str) -> None:
    corpus = ftlit.CorpusData(dataset=sentiment, backbone=tiny("gpt2"), objective="causal")
    plain, prompts = untrained("CausalLM", corpus, generation=Generation(max_new_tokens=5)), ["word1 good", "bad word2 word3"]
    expected = predictions(plain, prompts)
    with serving({"plain": plain, "chat": chats()}) as server:
        schema = server.ask("GET", "/models/plain/schema").json()
        assert (schema["chat"], schema["completions"]) == (False, True)
        whole = server.ask("POST", PROMPTS, json={"model": "plain", "prompt": prompts})
        assert [text_of(whole, i) for i in (0, 1)] == expected
        assert whole.json()["usage"]["completion_tokens"] == 10
        pieces = server.ask("POST", PROMPTS, json={"model": "plain", "prompt": prompts, "stream": True})
        assert [streamed(pieces, i) for i in (0, 1)] == [(text, "length") for text in expected]
        error = refused(server.ask("POST", CHAT, json={**said("a"), "model": "plain"}), 400)
        assert error["message"] == "the model 'plain' has not learned conversations; send a prompt to /v1/completions"
        ids = chats().data.tokenizer("Say a")["input_ids"]
        [reply] = server.models["chat"].predictor.model.replies([ids])
        assert text_of(server.ask("POST", PROMPTS, json={"model": "chat", "prompt": "Say a"})) == reply


@pytest.mark.parametrize("beams", [1, 3])
def test_sources_are_translated(tiny_seq2seq: Callable[[str], str], reversals: str, beams: int) -> None:
    data = ftlit.Seq2SeqData(dataset=reversals, backbone=tiny_seq2seq("t5"), max_target_length=6)
    predictor, texts = untrained("Seq2Seq", data, generation=Generation(num_beams=beams)), ["word1 word2", "word3"]
    expected = predictions(predictor, texts)
    with serving(predictor) as server:
        found = server.ask("POST", PROMPTS, json={"prompt": texts})
        assert [text_of(found, i) for i in (0, 1)] == expected
        pieces = server.ask("POST", PROMPTS, json={"prompt": texts, "stream": True})
        assert [streamed(pieces, i)[0] for i in (0, 1)] == expected
        for settings in ({"temperature": 1, "seed": 1}, {"max_tokens": 2}):
            assert server.ask("POST", PROMPTS, json={"prompt": texts, **settings}).status_code == 200
        assert "not learned conversations" in refused(server.ask("POST", CHAT, json=said("a")), 400)["message"]


def test_seeds_repeat_a_text_in_any_company(predictor: Predictor) -> None:
    with serving(predictor) as server:
        ask = lambda **more: text_of(server.ask("POST", CHAT, json=said("Say a", temperature=1.0, **more)))  # noqa: E731
        alone = ask(seed=5)
        body = {"prompt": ["Say b"] * 5, "temperature": 1.0, "seed": 5}
        assert (
            ask(seed=5)
            == alone
            == streamed(server.ask("POST", CHAT, json=said("Say a", temperature=1, seed=5, stream=True)))[0]
        )
        assert len({ask(seed=seed) for seed in range(4)}) > 1
        assert len({ask() for _ in range(4)}) > 1
        assert len({text_of(server.ask("POST", PROMPTS, json=body), i) for i in range(5)}) == 1
        assert ask(top_p=0.0) == predictions(predictor, ["Say a"])[0]


# How they end


def test_a_text_says_why_it_ended_and_how_long_it_is(chats: Callable[..., Predictor]) -> None:
    predictor = chats()
    prompt = predictor.data.encode_inputs({"question": ["Say a"]})["input_ids"][0]
    ids = predictor.model.model.generate(**predictor.model.generation_inputs([prompt]), max_new_tokens=8)[
        0, len(prompt) :
    ].tolist()
    end = next(i for i in range(2, 8) if ids[i] not in ids[:i])
    predictor.model.model.generation_config.eos_token_id = [ids[end]]
    [expected] = predictions(predictor, ["Say a"])
    with serving(predictor) as server:
        whole = server.ask("POST", CHAT, json=said("Say a")).json()
        assert (whole["choices"][0]["finish_reason"], whole["choices"][0]["message"]["content"]) == ("stop", expected)
        assert whole["usage"] == {
            "prompt_tokens": len(prompt), "completion_tokens": end + 1, "total_tokens": len(prompt) + end + 1
        }  # fmt: skip
        cut = server.ask("POST", CHAT, json=said("Say a", max_completion_tokens=end)).json()
        assert (cut["choices"][0]["finish_reason"], cut["usage"]["completion_tokens"]) == ("length", end)
        pieces = server.ask("POST", CHAT, json=said("Say a", stream=True, stream_options={"include_usage": True}))
        first, *_, last = events(pieces)
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert (last["choices"], last["usage"]) == ([], whole["usage"])
        assert first["object"] == "chat.completion.chunk"
        assert first["usage"] is None
        assert len({one["id"] for one in events(pieces)}) == 1
        assert server.counted('ftlit_tokens_total{model="model",kind="written"}') == 3 * (end + 1) - 1


def test_stop_strings_end_it(predictor: Predictor) -> None:
    [whole] = predictions(predictor, ["Say a"])
    stop = next(letter for letter in whole[2:] if letter.isascii() and letter.isprintable() and letter not in whole[:2])
    expected = whole[: whole.index(stop)].strip()
    with serving(predictor) as server:
        for stops in (stop, ["never", stop]):
            found = server.ask("POST", CHAT, json=said("Say a", stop=stops))
            assert (text_of(found), found.json()["choices"][0]["finish_reason"]) == (expected, "stop")
            assert found.json()["usage"]["completion_tokens"] < 12
            assert streamed(server.ask("POST", CHAT, json=said("Say a", stop=stops, stream=True))) == (expected, "stop")


def test_a_client_that_hangs_up_frees_the_model(chats: Callable[..., Predictor]) -> None:
    async def hang_up(server: Served) -> None:
        gone, sent = asyncio.Event(), list[bytes]()
        body = json.dumps(said("Say a", stream=True, max_tokens=200)).encode()
        requests = [{"type": "http.request", "body": body}]

        async def receive() -> dict[str, Any]:
            if requests:
                return requests.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))
            if len(sent) == 4:
                gone.set()

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b"", "http_version": "1.1"}
        await server.app({**scope, "asgi": {"spec_version": "2.3"}}, receive, send)

    with serving(chats(Generation(max_new_tokens=200))) as server:
        run(hang_up(server))
        after = server.ask("POST", CHAT, json=said("Say b", max_tokens=2))
        assert after.json()["usage"]["completion_tokens"] == 2
        assert server.counted('ftlit_tokens_total{model="model",kind="written"}') < 150


# What is refused


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        (CHAT, [], None, "the body should be an object"),
        (CHAT, {}, "messages", "messages should be a list with a message at least"),
        (CHAT, {"messages": []}, "messages", "a list with a message at least"),
        (CHAT, {"messages": ["hi"]}, None, "message 1 in column 'messages' is 'hi', not an object with role and content"),
        (CHAT, {"messages": [{"role": "wizard", "content": "hi"}]}, None, "has the role 'wizard'"),
        (CHAT, said(""), None, "message 1 in column 'messages' is empty"),
        (CHAT, said("\ud800"), None, "holds half a character"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None, "only texts can be read"),
        (CHAT, {"messages": [*said("a")["messages"], {"role": "assistant", "content": "b"}]}, "messages", "the assistant's"),
        (CHAT, said("a" * 300), None, "this run takes 256 tokens (data.max_length of its config); send fewer"),
        (CHAT, said("a", max_tokens=250), "max_tokens", "there is room for"),
        (CHAT, said("a", max_tokens=0), "max_tokens", "max_tokens should be a whole number from 1 to 4096, got 0"),
        (CHAT, said("a", max_tokens=2.5), "max_tokens", "a whole number"),
        (CHAT, said("a", temperature=True), "temperature", "temperature should be a number from 0 to 2, got true"),
        (CHAT, said("a", temperature=3), "temperature", "from 0 to 2, got 3"),
        (CHAT, said("a", top_p="1"), "top_p", 'got "1"'),
        (CHAT, said("a", seed=2**63), "seed", "seed should be a whole number"),
        (CHAT, said("a", stop=[""]), "stop", "none of them empty"),
        (CHAT, said("a", stop=list("abcde")), "stop", "at most 4"),
        (CHAT, said("a", stream="yes"), "stream", "true or false"),
        (CHAT, said("a", stream_options=5), "stream_options", "should be an object"),
        (CHAT, said("a", n=2), "n", "n: 2 cannot be honoured; this server writes one text for each request"),
        (CHAT, said("a", logprobs=True), "logprobs", "this server gives no probabilities"),
        (CHAT, said("a", tools=[{"type": "function"}]), "tools", "this server calls no tools"),
        (CHAT, said("a", response_format={"type": "json_object"}), "response_format", "this server writes free text"),
        (CHAT, said("a", presence_penalty=1), "presence_penalty", "cannot be honoured"),
        (CHAT, said("a", temprature=1), "temprature", "Did you mean 'temperature'?"),
        (CHAT, said("a", prompt="b"), "prompt", "'prompt' is not a field of this request"),
        (CHAT, {**said("a"), "model": 5}, "model", "model should be the name of a model"),
        (PROMPTS, {"prompt": [1, 2]}, "prompt", "numbers of tokens are not taken"),
        (PROMPTS, {"prompt": ""}, None, "is empty"),
        (PROMPTS, {"prompt": "a", "logprobs": 0}, "logprobs", "this server gives no probabilities"),
        (PROMPTS, {"prompt": "a" * 300}, None, "this run takes 256 tokens"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_fields_that_are_refused(predictor: Predictor, path: str, body: Any, param: str | None, words: str) -> None:
    with serving(predictor) as server:
        for stream in ({}, {"stream": True}) if isinstance(body, dict) and "stream" not in body else ({},):
            content = json.dumps({**body, **stream} if isinstance(body, dict) else body)
            found = server.ask("POST", path, content=content, headers={"content-type": "application/json"})
            error = refused(found, 400)
            assert words in error["message"]
            assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_fields_that_change_nothing_are_taken(predictor: Predictor) -> None:
    harmless = {
        **{"n": 1, "user": "me", "store": False, "metadata": {}, "tools": [], "tool_choice": "auto", "logprobs": False},
        **{"response_format": {"type": "text"}, "presence_penalty": 0, "logit_bias": {}, "stop": None, "max_tokens": None},
        **{"stream_options": None, "parallel_tool_calls": True},
    }
    with serving(predictor) as server:
        assert text_of(server.ask("POST", CHAT, json=said("Say a", **harmless))) == predictions(predictor, ["Say a"])[0]


def test_errors_have_the_form_of_openai_and_the_status_of_the_rest(predictor: Predictor) -> None:
    with serving(predictor, max_rows=3, max_body=5000, max_characters=100) as server:
        unknown = refused(server.ask("POST", CHAT, json={**said("a"), "model": "other"}), 404)
        assert (unknown["code"], unknown["param"]) == ("model_not_found", "model")
        refused(server.ask("GET", "/v1/models/other"), 404)
        refused(server.ask("GET", "/v1/nothing"), 404)
        refused(server.ask("GET", CHAT), 405)
        refused(server.ask("POST", CHAT, content=b"{", headers={"content-type": "application/json"}), 400)
        refused(server.ask("POST", CHAT, content=b"a"), 415)
        refused(server.ask("POST", CHAT, json=said("a" * 6000)), 413)
        assert "4 prompts" in refused(server.ask("POST", PROMPTS, json={"prompt": ["a"] * 4}), 413)["message"]
        assert "characters; this server takes 100" in refused(server.ask("POST", CHAT, json=said("a" * 200)), 400)["message"]
        refused(server.ask("POST", CHAT, json=said("a"), headers={"host": "evil.example"}), 403)
    with serving(predictor, State(token="0123456789abcdef")) as server:
        assert refused(server.ask("GET", "/v1/models"), 401)["type"] == "authentication_error"
        allowed = server.ask("GET", "/v1/models", headers={"authorization": "Bearer 0123456789abcdef"})
        [listed] = allowed.json()["data"]
        assert (listed["id"], listed["object"]) == ("model", "model")


def test_models_that_write_nothing_say_so(
    predictor: Predictor, tiny: Callable[[str], str], sentiment: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = ftlit.TextClassificationData(dataset=sentiment, backbone=tiny("bert"))
    with serving({"labels": untrained("TextClassification", data), "chat": predictor}) as server:
        assert [model["id"] for model in server.ask("GET", "/v1/models").json()["data"]] == ["chat"]
        schema = server.ask("GET", "/models/labels/schema").json()
        assert (schema["chat"], schema["completions"]) == (False, False)
        error = refused(server.ask("POST", CHAT, json={**said("a"), "model": "labels"}), 400)
        assert error["message"].startswith(
            "the model 'labels' is a TextClassification, which writes no text; ask /models/labels"
        )
        unnamed = said("a")
        del unnamed["model"]
        assert refused(server.ask("POST", CHAT, json=unnamed), 400)["param"] == "model"
        with caplog.at_level(logging.INFO, "ftlit.serve"):
            server.ask("POST", CHAT, json={**said("quietword"), "model": "chat"})
        assert "POST chat_completions 200 model=chat rows=1" in caplog.text
        assert "quietword" not in caplog.text


# Limits, and failures of the model


class Slow:
    """Lets a generator wait before it writes.

    Args:
        server: The server of the model.
    """

    def __init__(self, server: Served) -> None:
        self.go, self.begun, self.calls = threading.Event(), threading.Event(), 0
        generator = server.models["model"].writer.generator
        self._write, generator.write = generator.write, self.write  # type: ignore[method-assign]

    def write(self, replies: Any) -> None:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(30)
        self._write(replies)


def test_a_full_queue_and_a_late_answer(predictor: Predictor) -> None:
    async def asking(server: Served, slow: Slow) -> list[httpx.Response]:
        async with server.client() as client:
            first = asyncio.create_task(client.post(CHAT, json=said("a")))
            await asyncio.to_thread(slow.begun.wait, 20)
            second = asyncio.create_task(client.post(CHAT, json=said("a", stream=True)))
            await asyncio.sleep(0.1)
            third = await client.post(CHAT, json=said("a"))
            late = await asyncio.gather(first, second)
            slow.go.set()
            return [third, *late]

    with serving(predictor, max_waiting=1, max_rows=1, timeout=0.5) as server:
        full, first, second = run(asking(server, slow := Slow(server)))
        assert refused(full, 429)["type"] == "rate_limit_error"
        assert int(full.headers["retry-after"]) >= 1
        for late in (first, second):
            assert "not written within 0.5 s" in refused(late, 504)["message"]
        assert server.ask("POST", CHAT, json=said("a", max_tokens=1)).status_code == 200
        assert slow.calls <= 3


def test_a_failure_is_one_sentence_and_spares_the_others(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = predictor.model.generation_inputs

    def failing(prompts: list[list[int]]) -> Any:
        if any(len(prompt) > 60 for prompt in prompts):
            raise RuntimeError("secret")
        return inputs(prompts)

    monkeypatch.setattr(predictor.model, "generation_inputs", failing)
    bodies = [said("Say a"), said("b" * 60), said("b" * 60, stream=True)]

    async def at_once(server: Served) -> list[httpx.Response]:
        async with server.client() as client:
            return await asyncio.gather(*(client.post(CHAT, json=body) for body in bodies))

    with serving(predictor, wait_ms=300, batch_rows=3) as server:
        good, *bad = run(at_once(server))
    assert text_of(good) == predictions(predictor, ["Say a"])[0]
    for response in bad:
        assert refused(response, 500)["message"] == "the model failed on this request"
    assert "a text failed with RuntimeError at" in caplog.text
    assert "secret" not in caplog.text


def test_a_failure_in_the_middle_ends_the_stream_with_an_error(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(predictor) as server:
        decoder, calls = server.models["model"].writer.generator.decoder, [0]
        settled = decoder.settled

        def failing(ids: list[int]) -> str:
            calls[0] += 1
            if calls[0] > 5:
                raise RuntimeError("secret")
            return settled(ids)

        monkeypatch.setattr(decoder, "settled", failing)
        *_, last = server.ask("POST", CHAT, json=said("Say a", stream=True)).text.strip().split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["message"] == "the model failed on this request"


def test_another_model_takes_its_place(chats: Callable[..., Predictor], tmp_path: Path) -> None:
    first, second = chats(), chats(Generation(max_new_tokens=3))
    with serving(first) as server:
        model = server.models["model"]
        model._load = lambda path: second
        model.reload(again=True)
        assert text_of(server.ask("POST", CHAT, json=said("Say a"))) == predictions(second, ["Say a"])[0]


def test_the_description_has_the_paths(predictor: Predictor) -> None:
    with serving(predictor) as server:
        document = server.ask("GET", "/openapi.json").json()
    schema = document["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["messages"]
    assert {"temperature", "stop", "max_completion_tokens"} <= schema["properties"].keys()
    assert "text/event-stream" in document["paths"][PROMPTS]["post"]["responses"]["200"]["content"]
    assert {"/v1/models", "/v1/models/{name}"} <= document["paths"].keys()

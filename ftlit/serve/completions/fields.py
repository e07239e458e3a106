"""The body of a request for texts: its fields, checked, and what is said about those that cannot be honoured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ftlit.errors import near
from ftlit.serve.completions.generator import MESSAGES, PROMPT
from ftlit.serve.completions.reply import Settings
from ftlit.serve.problems import ProblemError
from ftlit.serve.settings import Limits

MOST_STOPS = 4
LONGEST_SEED = 2**63
# Fields that change nothing in the text, and are not looked at.
HARMLESS = (
    *("user", "metadata", "store", "service_tier", "safety_identifier", "parallel_tool_calls"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
)
# Fields that would change the answer, and the values with which they would not.
REFUSED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
    "moderation": (),
}
TAKEN = (
    *("model", "max_tokens", "temperature", "top_p", "stop", "seed", "stream", "stream_options"),
    *("max_completion_tokens", MESSAGES, PROMPT),
)
INSTEAD = {
    "n": "this server writes one text for each request; send it again for another one",
    "tools": "this server calls no tools; describe them in a message",
    "logprobs": "this server gives no probabilities; `predict` and `test` do",
    "response_format": "this server writes free text; ask for the format in a message",
}


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Args:
        model: Name of the model, or None.
        asked: Conversations or prompts.
        settings: How the texts are written.
        stream: Whether they are sent as they come.
        include_usage: Whether the numbers of tokens end the stream.
    """

    model: str | None
    asked: list[Any]
    settings: Settings
    stream: bool
    include_usage: bool


def asked_in(body: Any, field: str, limits: Limits) -> Asked:
    """What the body of a request asks for.

    Args:
        body: The parsed body.
        field: Where the conversation or the prompts are: `messages` or `prompt`.
        limits: Limits of the server.

    Raises:
        ProblemError: A field is missing, has a wrong value, or cannot be honoured.
    """
    if not isinstance(body, dict):
        _refuse(None, "the body should be an object")
    given = {name: value for name, value in body.items() if value is not None}
    _check_names(given, field)
    model, options = given.get("model"), given.get("stream_options", {})
    if not isinstance(model, str | None):
        _refuse("model", "model should be the name of a model")
    if not isinstance(options, dict):
        _refuse("stream_options", "stream_options should be an object")
    return Asked(
        model,
        [_messages(given)] if field == MESSAGES else _prompts(given, limits),
        _settings(given, limits),
        _flag(given, "stream"),
        _flag(options, "include_usage"),
    )


def _check_names(given: Mapping[str, Any], field: str) -> None:
    known = [name for name in TAKEN if field == MESSAGES or name != "max_completion_tokens"]
    known = [name for name in known if name not in (MESSAGES, PROMPT) or name == field]
    for name, value in given.items():
        if name in REFUSED and not any(type(value) is type(same) and value == same for same in REFUSED[name]):
            reason = INSTEAD.get(name, "this server does not know this option; leave it out")
            _refuse(name, f"{name}: {_shown(value)} cannot be honoured; {reason}", "unsupported_value")
        if name not in (*known, *REFUSED, *HARMLESS):
            _refuse(name, f"{name!r} is not a field of this request. {near(name, known)}", "unknown_parameter")


def _settings(given: Mapping[str, Any], limits: Limits) -> Settings:
    name = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    return Settings(
        _number(given, name, 1, limits.max_tokens, int),
        _number(given, "temperature", 0, 2),
        _number(given, "top_p", 0, 1),
        _number(given, "seed", -LONGEST_SEED, LONGEST_SEED - 1, int),
        _stops(given),
    )


def _number(given: Mapping[str, Any], name: str, least: int, most: int, kind: type = float) -> Any:
    """The number in a field, or None."""
    value = given.get(name)
    right = isinstance(value, int | (float if kind is float else int)) and not isinstance(value, bool)
    if value is not None and not (right and least <= value <= most):
        what = "a number" if kind is float else "a whole number"
        _refuse(name, f"{name} should be {what} from {least} to {most}, got {_shown(value)}")
    return value


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if not isinstance(value, bool | None):
        _refuse(name, f"{name} should be true or false, got {_shown(value)}")
    return bool(value)


def _stops(given: Mapping[str, Any]) -> tuple[str, ...]:
    value = given.get("stop", [])
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        _refuse("stop", f"stop should be a text, or a list of at most {MOST_STOPS} texts, none of them empty")
    return tuple(stops)


def _messages(given: Mapping[str, Any]) -> list[Any]:
    messages = given.get(MESSAGES)
    if not isinstance(messages, list) or not messages:
        _refuse(MESSAGES, "messages should be a list with a message at least")
    if isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
        _refuse(MESSAGES, "the last message is the assistant's, so there is nothing to reply to; end with one of the user")
    return messages


def _prompts(given: Mapping[str, Any], limits: Limits) -> list[str]:
    prompt = given.get(PROMPT)
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(one, str) for one in prompts):
        _refuse(PROMPT, "prompt should be a text or a list of texts; numbers of tokens are not taken")
    if len(prompts) > limits.max_rows:
        raise ProblemError(413, f"there are {len(prompts)} prompts; this server takes {limits.max_rows} at once", param=PROMPT)
    return prompts


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _refuse(name: str | None, sentence: str, code: str = "invalid_value") -> NoReturn:
    raise ProblemError(400, sentence, param=name, code=code)

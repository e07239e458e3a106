"""What the hub refuses, in a sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_token, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from ftlit.errors import UserError, in_a_sentence
from ftlit.runs.secrets import hidden_text

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
TRANSPORT = ("httpx", "httpx2")  # packages whose errors are those of the connection


def check_name(repo: str) -> None:
    """Check the name of a repository.

    Raises:
        UserError: It is not `user/name`.
    """
    if not NAME.fullmatch(repo) or len(repo) > 96 or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise UserError(f"--repo {repo!r} is no name of a repository; expected user/name, such as me/sst2-bert")


def check_access() -> None:
    """Check that the hub may be asked, and that there is a token.

    Raises:
        UserError: HF_HUB_OFFLINE is set, or nobody is logged in.
    """
    if is_offline_mode():
        raise UserError("HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set, so nothing can be pushed; unset it, or use --dry_run")
    if get_token() is None:
        raise UserError(f"pushing needs an account of the hub: {LOG_IN}")


@contextmanager
def in_sentences(repo: str, created: str = "") -> Iterator[None]:
    """Turn errors of the hub and of the connection into a `UserError`.

    Args:
        repo: Name of the repository.
        created: What has been made so far, for the end of the sentence.

    Raises:
        UserError: An error was raised inside.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (said := _sentence(error, repo)) is None:
            raise
        raise UserError(f"{said}; nothing was pushed{created}") from error


def _sentence(error: Exception, repo: str) -> str | None:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, HfHubHTTPError):
        return _answered(error, repo)
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in TRANSPORT:
        return f"the hub at {constants.ENDPOINT} cannot be reached ({hidden_text(in_a_sentence(error))})"
    return hidden_text(in_a_sentence(error)) if isinstance(error, ValueError | RuntimeError) else None


def _answered(error: HfHubHTTPError, repo: str) -> str:
    """The sentence for an answer of the hub."""
    status = error.response.status_code
    said = hidden_text(" ".join((error.server_message or "").split()))
    detail = f": {said}" if said else ""
    if status == 401:
        return f"the hub does not accept the token for {repo}{detail}; {LOG_IN}"
    if status in (402, 403):
        return f"the token may not write to {repo}{detail}; {LOG_IN}, or choose another --repo"
    if status == 412:
        return f"{repo} was changed by somebody else meanwhile{detail}; repeat the command"
    again = "; repeat the command later" if status == 429 or status >= 500 else ""
    return f"the hub answered {status} for {repo}{detail}{again}"

"""Texts for many requests are written together."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import NEEDS
from ftlit.exports.predicting.windows import characters
from ftlit.serve.completions.generator import Generator
from ftlit.serve.completions.reply import Reply, Settings
from ftlit.serve.problems import ProblemError
from ftlit.serve.queues.batcher import log_failure
from ftlit.serve.queues.queue import Job, Loaded, Queue

Event = tuple[int, str | Reply | ProblemError]  # position of a text; a piece of it, the whole at its end, or what went wrong
FAILED = "the model failed on this request"


class Texts(Job):
    """The texts that a request asks for, and what happens to them.

    Args:
        asked: Conversations, which are lists of messages, or prompts.
        settings: How the texts are written.
        stream: Whether pieces are wanted.
    """

    def __init__(self, asked: list[Any], settings: Settings, stream: bool) -> None:
        super().__init__([characters(one) for one in asked])
        self.asked, self.settings = asked, settings
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.replies = [self._reply(i, stream) for i in range(len(asked))]

    def _reply(self, i: int, stream: bool) -> Reply:
        return Reply(self.settings.stops, partial(self.tell, i) if stream else None, lambda: self.cancelled)

    def tell(self, i: int, found: str | Reply | ProblemError) -> None:
        """Tell of a text, from the model's thread."""
        with suppress(RuntimeError):  # nobody waits any more
            self._loop.call_soon_threadsafe(self.events.put_nowait, (i, found))


class Writer(Queue[Texts]):
    """Writes the texts of requests.

    Args:
        loaded: The model.
        generator: What it writes with; another one can take its place at any time.
    """

    def __init__(self, loaded: Loaded, generator: Generator) -> None:
        super().__init__(loaded)
        self.generator = generator

    def answer(self, taken: list[tuple[Texts, int]]) -> None:
        generator = self.generator
        ready = [one for one in taken if not one[0].cancelled and self._begun(generator, *one)]
        for some in self._batches(generator, sorted(ready, key=_tokens)):
            self._write(generator, some)

    def _begun(self, generator: Generator, job: Texts, i: int) -> bool:
        """Prepare a reply, and say whether it can be written."""
        if job.sizes[i] > self.limits.max_characters:
            text = f"a prompt has {job.sizes[i]} characters; this server takes {self.limits.max_characters}"
            return self._fail(job, i, ProblemError(400, text, code="string_above_max_length"))
        return self._safely(job, i, lambda: generator.begin(job.replies[i], job.asked[i], job.settings))

    def _safely(self, job: Texts, i: int, work: Callable[[], None]) -> bool:
        """Work for a text, and say whether it went well."""
        try:
            work()
        except ProblemError as problem:
            return self._fail(job, i, problem)
        except UserError as error:
            return self._fail(job, i, ProblemError(400, str(error).partition(NEEDS)[0], code="invalid_value"))
        except Exception as error:
            log_failure("a text", error)
            return self._fail(job, i, ProblemError(500, FAILED))
        return True

    def _fail(self, job: Texts, i: int, problem: ProblemError) -> bool:
        self.loaded.metrics.rows(self.loaded.name, 0, 1)
        job.tell(i, problem)
        return False

    def _batches(self, generator: Generator, ready: list[tuple[Texts, int]]) -> list[list[tuple[Texts, int]]]:
        """Replies in order of their prompts' lengths, cut where a batch is full or they cannot be written together."""
        if not ready:
            return []
        found: list[list[tuple[Texts, int]]] = []
        lengths = np.array([_tokens(one) for one in ready])
        ends = {*np.cumsum(self.loaded.sizes(lengths)).tolist()}
        for k, one in enumerate(ready):
            if k == 0 or k in ends or not generator.together(_reply(found[-1][0]), _reply(one)):
                found.append([])
            found[-1].append(one)
        return found

    def _write(self, generator: Generator, some: list[tuple[Texts, int]]) -> None:
        """Write replies; if they fail together, each of which nothing was shown is tried alone."""
        try:
            generator.write([_reply(one) for one in some])
        except Exception as error:
            log_failure("a text", error)
            for job, i in some:
                self._again(generator, job, i, alone=len(some) == 1)
        self._finish(some)

    def _finish(self, some: list[tuple[Texts, int]]) -> None:
        """Count what was written, and tell it."""
        replies, metrics = [_reply(one) for one in some], self.loaded.metrics
        metrics.tokens(self.loaded.name, sum(map(_tokens, some)), sum(reply.tokens for reply in replies))
        if written := sum(reply.reason is not None for reply in replies):
            metrics.rows(self.loaded.name, written, 0)
        for (job, i), reply in zip(some, replies, strict=True):
            if reply.reason is not None:
                job.tell(i, reply)

    def _again(self, generator: Generator, job: Texts, i: int, alone: bool) -> None:
        """Write a reply again after others failed with it."""
        reply = job.replies[i]
        if reply.over:
            return
        if alone or reply.text:
            self._fail(job, i, ProblemError(500, FAILED))
        elif self._begun(generator, job, i):
            self._safely(job, i, lambda: generator.write([reply]))


def _reply(one: tuple[Texts, int]) -> Reply:
    return one[0].replies[one[1]]


def _tokens(one: tuple[Texts, int]) -> int:
    return _reply(one).prompt_tokens

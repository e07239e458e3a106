"""Waiting for a model on behalf of a client, who may go away."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request

from ftlit.serve.problems import GONE, ProblemError

LOOK = 0.5  # seconds after which it is seen whether a client still waits
Found = TypeVar("Found")


async def waited(awaitable: Awaitable[Found], request: Request, end: float, late: str) -> Found:
    """What an awaitable gives.

    Args:
        awaitable: The awaitable, which is cancelled if nobody waits for it any more.
        request: The request of the client who waits.
        end: Time of the event loop until which they wait.
        late: What is said after that.

    Raises:
        ProblemError: It takes too long, or the client has gone.
    """
    loop, future = asyncio.get_running_loop(), asyncio.ensure_future(awaitable)
    try:
        while not (await asyncio.wait([future], timeout=min(LOOK, max(end - loop.time(), 0))))[0]:
            if loop.time() >= end:
                raise ProblemError(504, late, {"Retry-After": "1"})
            if await request.is_disconnected():
                raise ProblemError(GONE, "the connection was closed before the answer was there")
        return future.result()
    finally:
        future.cancel()

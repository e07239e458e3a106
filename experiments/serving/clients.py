"""Clients that ask a server as fast as it answers, in a process of their own.

python experiments/serving/clients.py URL CLIENTS SECONDS < texts.json
"""

import asyncio
import json
import sys
import time
from typing import Any

import httpx


async def ask(url: str, count: int, seconds: float, texts: list[str]) -> dict[str, Any]:
    """Milliseconds of each request, and the number of errors by their kind."""
    found, errors, end = list[float](), dict[str, int](), time.perf_counter() + seconds
    numbers = iter(range(sys.maxsize))

    async def client() -> None:
        async with httpx.AsyncClient(timeout=60, verify=False) as session:
            while (began := time.perf_counter()) < end:
                try:
                    response = await session.post(url, json={"text": texts[next(numbers) % len(texts)]})
                    kind = "" if response.status_code == 200 else str(response.status_code)
                except httpx.HTTPError as error:
                    kind = type(error).__name__
                found.append(1000 * (time.perf_counter() - began))
                if kind:
                    errors[kind] = errors.get(kind, 0) + 1

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(count)))
    return {"milliseconds": found, "errors": errors, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    url, count, seconds = sys.argv[1:4]
    print(json.dumps(asyncio.run(ask(url, int(count), float(seconds), json.load(sys.stdin)))))

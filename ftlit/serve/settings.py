"""Limits of a server, and the threads with which its models compute."""

import asyncio
from dataclasses import dataclass, fields

from ftlit.errors import UserError
from ftlit.exports.predicting.sizes import tokens_of


@dataclass(frozen=True)
class Limits:
    """What a server accepts, and how it batches rows.

    Args:
        batch_tokens: Number of tokens of a batch, padding included; by default `tokens_of` the device.
        batch_rows: Number of rows that are taken from the queue together.
        wait_ms: Milliseconds for which a row waits for others.
        max_body: Bytes of the body of a request.
        max_rows: Number of rows of a request.
        max_characters: Number of characters of a row.
        max_waiting: Number of rows that wait for a model.
        max_tokens: Number of tokens that a model writes for a row.
        timeout: Seconds until a request must be answered, and its body received.
        threads: Number of threads with which a model computes on a CPU; by default all cores that PyTorch sees.
    """

    batch_tokens: int | None = None
    batch_rows: int = 64
    wait_ms: float = 0.0
    max_body: int = 4_000_000
    max_rows: int = 1000
    max_characters: int = 100_000
    max_waiting: int = 4000
    max_tokens: int = 4096
    timeout: float = 30.0
    threads: int | None = None

    def tokens(self, device: str) -> int:
        """Number of tokens of a batch on a device."""
        return self.batch_tokens or tokens_of(device)

    def end(self) -> float:
        """Time of the event loop until which a request that comes now must be answered."""
        return asyncio.get_running_loop().time() + self.timeout

    def check(self) -> None:
        """Check the limits.

        Raises:
            UserError: One is too small, or two contradict each other.
        """
        for name in (field.name for field in fields(self) if field.name != "wait_ms"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise UserError(f"--{name} must be above 0, got {value}")
        if not 0 <= self.wait_ms < 1000 * self.timeout:
            raise UserError(f"--wait_ms must be at least 0 and below --timeout, got {self.wait_ms}")
        if self.max_waiting < self.max_rows:
            raise UserError(
                f"--max_waiting is {self.max_waiting} rows, but one request may have --max_rows {self.max_rows}; raise the "
                "former, or lower the latter"
            )

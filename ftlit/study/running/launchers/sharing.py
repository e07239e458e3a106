"""How many cells share a device: as many as the study says, or as many as its memory holds."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ftlit.study.plan.settings import LaunchSettings

CONTEXT_BYTES = 600 * 2**20  # what a process with CUDA holds beside the memory that PyTorch counts
FILLED = 0.9  # share of a device's free memory that cells may take


@dataclass
class Sharing:
    """The number of cells that run at a time on each device. It falls by one when memory has run out.

    Args:
        at_once: Number of cells on a device at a time.
        devices: GPUs, as in CUDA_VISIBLE_DEVICES; empty for the CPUs of this machine, which count as one device.
        limit: Number of cells at a time on all devices together; None for no limit.
        most: Number up to which `at_once` grows as far as memory allows, once the first cells have ended.
        free_bytes: Bytes of memory that are free on the smallest device.
        say: Called with a line of text when the number changes.
    """

    at_once: int = 1
    devices: list[str] = field(default_factory=list)
    limit: int | None = None
    most: int = 0
    free_bytes: int = 0
    say: Callable[[str], None] = print
    largest: int = 0  # bytes of the largest cell so far

    def free(self, taken: Iterable[str | None]) -> int:
        """Number of cells that can start, given the device of each running cell."""
        counts = Counter(taken)
        there: list[str | None] = [*self.devices] or [None]
        places = sum(max(self.at_once - counts[device], 0) for device in there)
        return places if self.limit is None else max(min(places, self.limit - counts.total()), 0)

    def place(self, taken: Iterable[str | None]) -> str | None:
        """The device with the fewest running cells; None for the CPUs."""
        counts = Counter(taken)
        return min(self.devices, key=lambda device: counts[device], default=None)

    def learn(self, efficiency: dict[str, Any]) -> None:
        """Let more cells run at a time if the device holds more of the largest one so far.

        Args:
            efficiency: What a run's results say about its cost.
        """
        self.largest = max(self.largest, efficiency.get("peak_reserved_bytes", 0))
        if self.largest and self.free_bytes and self.most:
            fitting = int(FILLED * self.free_bytes / (self.largest + CONTEXT_BYTES))
            self._change(max(min(fitting, self.most), 1), f"the largest holds {self.largest / 2**30:.1f} GiB")

    def ran_out(self, running: int) -> None:
        """Let fewer cells run at a time from now on.

        Args:
            running: Number of cells that were running on the device whose memory ran out.
        """
        self.most = max(min(running, self.at_once) - 1, 1)
        self._change(self.most, "memory has run out")

    def _change(self, at_once: int, reason: str) -> None:
        if at_once != self.at_once:
            self.at_once = at_once
            self.say(f"launch  {at_once} at a time on {'each GPU' if self.devices else 'this machine'} from now on: {reason}")


def sharing(settings: LaunchSettings, devices: list[str]) -> Sharing:
    """How cells share these GPUs, or the CPUs of this machine, according to the study.

    With ``per_device: auto``, one cell runs on each GPU until the first has ended, then as many as memory and CPU cores allow.
    """
    cores = max((os.cpu_count() or 1) // settings.threads, 1)
    if not devices:
        return Sharing(settings.jobs or cores)
    if settings.per_device == "auto":
        most = max(cores // len(devices), 1)
        return Sharing(1, devices, settings.jobs, most, min(map(free_memory, devices)))
    return Sharing(max(settings.per_device, -(-(settings.jobs or 0) // len(devices))), devices, settings.jobs)


def gpus() -> list[str]:
    """The GPUs that this process may use, found without initialising CUDA."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [device for device in visible.split(",") if device]
    return [line.strip() for line in _nvidia_smi("--query-gpu=index")]


def free_memory(device: str) -> int:
    """Bytes of free memory of a GPU; 0 if they are not known, as for a part of a GPU."""
    listed = _nvidia_smi("--query-gpu=memory.free", f"--id={device}")
    return int(listed[0]) * 2**20 if len(listed) == 1 and listed[0].strip().isdigit() else 0


def _nvidia_smi(*options: str) -> list[str]:
    """The lines that nvidia-smi prints; none if it is not there or fails."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", *options, "--format=csv,noheader,nounits"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return listed.stdout.splitlines() if listed.returncode == 0 else []

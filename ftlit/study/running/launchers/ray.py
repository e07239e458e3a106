"""Cells as tasks of a Ray cluster, each forked from a process of its Ray worker that has imported everything."""

import os
import socket
from dataclasses import replace
from functools import cache
from typing import Any

from ftlit.errors import UserError, near
from ftlit.study.plan.settings import LaunchSettings
from ftlit.study.running.launchers.local import Local
from ftlit.study.running.worker import Job

KEYS = ("num_cpus", "num_gpus", "address")
LOST = -9  # as if the cell had been killed: its worker or its node is gone
SECONDS = 10  # until a cluster has answered


class Ray:
    """Runs each job as a Ray task with resources of its own.

    The folder of the study is on a file system that all nodes share and on which locks work (NFS 4, Lustre mounted with
    ``flock``), and ftlit is installed on each of them.

    Args:
        settings: ``ray`` has what a cell takes, ``num_cpus`` (its threads, by default) and ``num_gpus`` (one where the
            cluster has some), and the ``address`` of the cluster; by default it is the one that runs here, or one that is
            started for the study. ``jobs`` are cells at a time, by default as many as there is room for.

    Raises:
        UserError: Ray is not installed or not reached, a key is none of these, or a cell would never have room.
    """

    def __init__(self, settings: LaunchSettings) -> None:
        _check_keys(settings.ray)
        self.ray = _imported()
        self._started = not self.ray.is_initialized()
        if self._started:
            self._connect(settings.ray.get("address"))
        try:
            self.resources = _resources(settings, self.ray.cluster_resources())
            self.slots = settings.jobs or _room(self.resources, self.ray.cluster_resources())
        except UserError:
            self._disconnect()
            raise
        self._running: dict[Any, str] = {}

    @property
    def running(self) -> list[str]:
        """Names of the cells that run, or wait for resources."""
        return list(self._running.values())

    @property
    def free(self) -> int:
        """How many more may start."""
        return self.slots - len(self._running)

    def submit(self, job: Job) -> None:
        """Start a job; Ray does not repeat it, for the runner decides about those that die."""
        task = self.ray.remote(run_cell).options(**self.resources, max_retries=0, name=job.cell.title)
        self._running[task.remote(job, os.getcwd())] = job.cell.name

    def wait(self, seconds: float) -> dict[str, int]:
        """Wait until a job ends, at most so long; gives its exit code, by cell.

        Raises:
            UserError: A task failed before its cell began.
        """
        ended, _ = self.ray.wait(list(self._running), timeout=seconds)
        return {self._running.pop(task): self._code(task) for task in ended}

    def _code(self, task: Any) -> int:
        try:
            return self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            raise UserError(
                f"a Ray worker could not run a cell: {error.cause!r}; ftlit and the folder of the study should be on each node"
            ) from error
        except self.ray.exceptions.RayError:
            return LOST

    def close(self) -> None:
        """End what still runs, and Ray where it was started or joined here."""
        for task in self._running:
            self.ray.cancel(task, force=True)
        self._running.clear()
        self._disconnect()

    def _connect(self, address: str | None) -> None:
        try:
            if address and ":" in address:  # Ray itself would try for minutes
                host, _, port = address.rpartition("/")[2].rpartition(":")
                socket.create_connection((host, int(port)), timeout=SECONDS).close()
            self.ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).split("\n", 1)[0]
            where = f"at launch.ray.address {address!r}" if address else "or not started here"
            raise UserError(f"Ray is not reached {where}: {reason}") from error

    def _disconnect(self) -> None:
        if self._started:
            self.ray.shutdown()


def _check_keys(given: dict[str, Any]) -> None:
    if unknown := [key for key in given if key not in KEYS]:
        raise UserError(f"launch.ray has the key {unknown[0]!r}. {near(unknown[0], KEYS)}")
    for key in ("num_cpus", "num_gpus"):
        value = given.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise UserError(f"launch.ray.{key} should be a number of at least 0, got {value!r}")


def _imported() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise UserError("launch.launcher ray needs the package ray: pip install -e '.[ray]'") from error
    return ray


def _resources(settings: LaunchSettings, cluster: dict[str, float]) -> dict[str, float]:
    """What a cell takes, as Ray's options."""
    usual = {"num_cpus": settings.threads, "num_gpus": 1 if cluster.get("GPU") else 0}
    return {key: settings.ray.get(key, value) for key, value in usual.items()}


def _room(wanted: dict[str, float], cluster: dict[str, float]) -> int:
    """How many cells the cluster has room for.

    Raises:
        UserError: Not for one.
    """
    rooms = {}
    for key, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        if wanted[key]:
            rooms[key] = int(cluster.get(name, 0) / wanted[key])
            if not rooms[key]:
                raise UserError(
                    f"launch.ray gives a cell {key} {wanted[key]}, and the cluster has {cluster.get(name, 0):g} in all; "
                    f"lower launch.ray.{key}, or set launch.jobs where the cluster grows on demand"
                )
    return min(rooms.values(), default=1)


def run_cell(job: Job, directory: str) -> int:
    """What a Ray task does: run a job in a process of its own, and give its exit code.

    Args:
        job: The job; it gets the GPUs that Ray has given the task.
        directory: The runner's present folder, to which paths in configs are relative.
    """
    import ray

    os.chdir(directory)
    devices = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    local = _local()
    local.submit(replace(job, device=",".join(devices)))
    codes: dict[str, int] = {}
    while not codes:
        codes = local.wait(60)
    return codes[job.cell.name]


@cache
def _local() -> Local:
    """The one of a Ray worker, which runs one task after the other."""
    local = Local(1)
    # Every cell imports the main module of its Ray worker anew, and with it Ray.
    local.context.set_forkserver_preload(["ftlit.study.running.preload", "ray"])
    return local

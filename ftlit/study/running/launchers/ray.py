"""Run cells as tasks on a Ray cluster, each forked from a process of its Ray worker that has imported everything."""

import os
import socket
from dataclasses import replace
from functools import cache
from typing import Any

from ftlit.errors import UserError, near
from ftlit.study.plan.settings import LaunchSettings
from ftlit.study.running.launchers.local import Local
from ftlit.study.running.launchers.sharing import Sharing
from ftlit.study.running.worker import Job

RAY_KEYS = ("num_cpus", "num_gpus", "address")
LOST = -9  # exit code if a Ray worker or its node is gone, as if the cell had been killed
CONNECT_SECONDS = 10  # time for a cluster to answer


class Ray:
    """Runs each job as a Ray task with its own resources.

    The folder of the study must be on a file system that all nodes share and that supports locks (NFS 4, or Lustre mounted
    with ``flock``), and ftlit must be installed on every node.

    Args:
        settings: ``ray`` sets the resources of a cell, ``num_cpus`` (by default its threads) and ``num_gpus`` (by default
            one if the cluster has GPUs), and the ``address`` of the cluster; by default a cluster that runs on this machine,
            or one that is started for the study. ``jobs`` is the number of cells at a time, by default as many as fit.

    Raises:
        UserError: Ray is not installed, the cluster cannot be reached, a key is unknown, or no node can hold a cell.
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
        """Names of the cells that are running or waiting for resources."""
        return list(self._running.values())

    @property
    def free(self) -> int:
        """Number of jobs that can start now."""
        return self.slots - len(self._running)

    def submit(self, job: Job) -> None:
        """Start a job without retries, since the runner decides whether a cell that died is restarted."""
        task = self.ray.remote(run_cell).options(**self.resources, max_retries=0, name=job.cell.title)
        self._running[task.remote(job, os.getcwd())] = job.cell.name

    def wait(self, seconds: float) -> dict[str, int]:
        """Wait until a job ends or the time is up; returns the exit code of an ended job by cell.

        Raises:
            UserError: A task failed before its cell started.
        """
        ended, _ = self.ray.wait(list(self._running), timeout=seconds)
        return {self._running.pop(task): self._code(task) for task in ended}

    def _code(self, task: Any) -> int:
        try:
            return self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            raise UserError(
                f"a Ray worker could not run a cell: {error.cause!r}; every node needs ftlit and the study's folder"
            ) from error
        except self.ray.exceptions.RayError:
            return LOST

    def close(self) -> None:
        """End the jobs that are still running, and disconnect from Ray unless the caller had connected."""
        for task in self._running:
            self.ray.cancel(task, force=True)
        self._running.clear()
        self._disconnect()

    def _connect(self, address: str | None) -> None:
        try:
            if address and ":" in address:  # Ray itself would retry for minutes
                host, _, port = address.rpartition("/")[2].rpartition(":")
                socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
            self.ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).split("\n", 1)[0]
            where = f"at launch.ray.address {address!r}" if address else "and could not be started on this machine"
            raise UserError(f"Ray cannot be reached {where}: {reason}") from error

    def _disconnect(self) -> None:
        if self._started:
            self.ray.shutdown()


def _check_keys(given: dict[str, Any]) -> None:
    if unknown := [key for key in given if key not in RAY_KEYS]:
        raise UserError(f"launch.ray has the key {unknown[0]!r}. {near(unknown[0], RAY_KEYS)}")
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
    """The resources of a cell, as options for Ray."""
    usual = {"num_cpus": settings.threads, "num_gpus": 1 if cluster.get("GPU") else 0}
    return {key: settings.ray.get(key, value) for key, value in usual.items()}


def _room(wanted: dict[str, float], cluster: dict[str, float]) -> int:
    """Number of cells that fit on the cluster.

    Raises:
        UserError: No cell fits.
    """
    rooms = {}
    for key, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        if wanted[key]:
            rooms[key] = int(cluster.get(name, 0) / wanted[key])
            if not rooms[key]:
                raise UserError(
                    f"launch.ray sets {key} {wanted[key]} for a cell, but the cluster has {cluster.get(name, 0):g} in all; "
                    f"lower launch.ray.{key}, or set launch.jobs where the cluster grows on demand"
                )
    return min(rooms.values(), default=1)


def run_cell(job: Job, directory: str) -> int:
    """Run a job in a process of its own and return its exit code; this function is the Ray task.

    Args:
        job: The job; it uses the GPUs that Ray assigned to the task.
        directory: The runner's working directory, to which paths in configs are relative.
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
    """The executor of a Ray worker, which runs one task after the other."""
    local = Local(Sharing())
    # Every cell imports the main module of its Ray worker again, and Ray with it.
    local.context.set_forkserver_preload(["ftlit.study.running.preload", "ray"])
    return local

"""A real Slurm of one node on the loopback device, started and ended by hand: no service, no privileges beyond the user's."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
CONFIG = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# A requeued job waits until its credential has expired, two minutes by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=2
# The machine may be busy with other tests.
MessageTimeout=60
BatchStartTimeout=60
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1
PartitionName=all Nodes={host} Default=YES MaxTime=60 State=UP
"""


def missing() -> list[str]:
    """The programs of Slurm that are not installed."""
    return [program for program in PROGRAMS if _program(program) is None]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def slurm_cluster(cpus: int = 2) -> Iterator[Path]:
    """Inside, ``sbatch`` and its like talk to a cluster of one node; gives the folder with its configuration and logs.

    A process of its own looks after the daemons, and ends them when this one leaves or dies.

    Args:
        cpus: That the node claims to have.

    Raises:
        RuntimeError: It does not start; the daemons' logs say why.
    """
    command = [sys.executable, str(Path(__file__)), str(cpus)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    keeper = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
    before = os.environ.get("SLURM_CONF")
    try:
        folder = str(keeper.stdout.readline()).strip()
        if not folder:
            raise RuntimeError("Slurm did not start")
        os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
        yield Path(folder)
    finally:
        _restore(before)
        keeper.communicate()  # closes its input


def _keep(cpus: int) -> None:
    """Keep a cluster until the input ends."""
    # Not in a test's own folder: munge wants a path that all may pass, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ["SLURM_CONF"] = str(_configured(folder, cpus))
        stack.enter_context(_daemon(folder, _munged(folder)))
        wait_until(lambda: (folder / "munge.socket").exists(), folder)
        stack.enter_context(_daemon(folder, ["slurmctld", "-D"]))
        stack.enter_context(_daemon(folder, ["slurmd", "-D"]))
        stack.callback(_emptied)
        wait_until(lambda: _said(["sinfo", "--noheader", "--format=%t"]) == "idle", folder)
        print(folder, flush=True)
        sys.stdin.read()


def _configured(folder: Path, cpus: int) -> Path:
    for inner in ("state", "spool"):
        (folder / inner).mkdir()
    ports = dict(zip(("controller", "node"), _free_ports(2), strict=True))
    path = folder / "slurm.conf"
    path.write_text(CONFIG.format(host=socket.gethostname(), user=getpass.getuser(), folder=folder, cpus=cpus, **ports))
    return path


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _munged(folder: Path) -> list[str]:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    places = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munged.pid",
              "log-file": folder / "munged.log", "seed-file": folder / "munged.seed"}  # fmt: skip
    return ["munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in places.items())]


@contextmanager
def _daemon(folder: Path, command: list[str]) -> Iterator[None]:
    """Inside, a daemon runs; afterwards it and what it started are gone."""
    with (folder / f"{command[0]}.out").open("w") as log:
        process = subprocess.Popen([str(_program(command[0])), *command[1:]], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _emptied() -> None:
    """Cancel what is in the queue and wait until it is gone: the daemons would leave it running."""
    subprocess.run(["scancel", "--user", getpass.getuser()], check=False)
    end = time.monotonic() + 20
    while _said(["squeue", "--noheader"]) and time.monotonic() < end:
        time.sleep(0.2)


def wait_until(ready: Callable[[], bool], folder: Path, logs: str = "*.log", seconds: float = 60) -> None:
    """Wait, and show the ends of the logs in a folder where it takes too long."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            ends = "\n".join(f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in sorted(folder.glob(logs)))
            raise RuntimeError(f"Slurm was not so far within {seconds:.0f} s\n{ends}")
        time.sleep(0.2)


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _restore(before: str | None) -> None:
    os.environ.pop("SLURM_CONF", None)
    if before is not None:
        os.environ["SLURM_CONF"] = before


if __name__ == "__main__":
    _keep(int(sys.argv[1]))

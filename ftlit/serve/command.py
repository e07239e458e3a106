"""The command that serves runs."""

import ipaddress
import os
import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ftlit.errors import UserError
from ftlit.serve.settings import Limits

TOKEN = "FTLIT_SERVE_TOKEN"  # environment variable
SHORTEST = 16  # characters of a token
PACKAGES = ("starlette", "uvicorn", "httptools")
NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)  # of a model; it becomes a part of URLs and metrics


def serve(
    run: list[str] | None = None,
    studio: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    checkpoint: str = "best",
    device: str | None = None,
    batch_tokens: int | None = Limits.batch_tokens,
    batch_rows: int = Limits.batch_rows,
    wait_ms: float = Limits.wait_ms,
    max_body: int = Limits.max_body,
    max_rows: int = Limits.max_rows,
    max_characters: int = Limits.max_characters,
    max_waiting: int = Limits.max_waiting,
    max_tokens: int = Limits.max_tokens,
    timeout: float = Limits.timeout,
    threads: int | None = None,
    workers: int = 1,
    reload: bool = False,
    log_requests: bool = True,
    log_texts: bool = False,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Answer requests for predictions over HTTP.

    Args:
        run: Folder of a run, or an exported folder, or `name=folder`. Give the option several times to serve several models.
        studio: Folder whose runs and studies are shown in a browser, with or without models beside them. It is only read.
        host: Address to listen at. Any other than loopback needs a token in the environment variable FTLIT_SERVE_TOKEN.
        port: Port to listen at; 0 chooses a free one.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Device of the models. Defaults to the GPU if there is one.
        batch_tokens: Number of tokens that go through a model together, padding included. Defaults to 512 on a CPU, and to
            16384 on a GPU.
        batch_rows: Number of rows that are taken from the queue together.
        wait_ms: Milliseconds for which a row waits for others. With 0, only rows that come while the model is busy are batched.
        max_body: Largest body of a request in bytes.
        max_rows: Largest number of rows of a request.
        max_characters: Largest number of characters of a row.
        max_waiting: Largest number of rows that wait for a model; requests beyond are refused with status 429.
        max_tokens: Largest number of tokens that a request under /v1 may have written for it.
        timeout: Seconds until a request is given up with status 504.
        threads: Number of threads of a model on a CPU, in each worker. Defaults to the number of cores, divided by `workers`.
        workers: Number of processes that answer, on a CPU. They have the weights of the models in memory once.
        reload: Whether to take a newer run from the same folder as soon as it has finished. SIGHUP does it in any case.
        log_requests: Whether to log a line for each request.
        log_texts: Whether these lines contain the rows.
        trust_remote_code: Whether to run code that comes with the model. What the folder says has no effect.
        trust_classes: Import paths of classes outside ftlit that the folder may name, such as `my_task.Stars`.

    Raises:
        UserError: An option is wrong, the port is taken, or a folder holds no run.
    """
    folders, shown = named_folders(run or []), studio_folder(studio)
    if not folders and shown is None:
        raise UserError("serve needs a run: add --run runs/x; or --studio runs shows the runs in a folder")
    token = _token(host)
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"ftlit serve needs the packages {' and '.join(missing)}; install them with: pip install -e '.[serve]'")
    limits = Limits(
        batch_tokens, batch_rows, wait_ms, max_body, max_rows, max_characters, max_waiting, max_tokens, timeout, threads
    )
    limits.check()
    from ftlit.exports.predict import load
    from ftlit.serve.running import Serving, run_server
    from ftlit.serve.workers.supervisor import run_workers

    trusted = {"trust_remote_code": trust_remote_code, "trust_classes": trust_classes}
    open_folder = partial(load, checkpoint=checkpoint, device=device, **trusted)  # type: ignore[arg-type]
    serving = Serving(folders, open_folder, limits, token, log_requests, log_texts, reload, shown)
    if workers == 1:
        run_server(serving, (host, port))
    else:
        run_workers(serving, (host, port), workers, device)


def _token(host: str) -> str | None:
    """The token that clients must send, or None.

    Raises:
        UserError: It is missing, though others can reach the address, or it is too short.
    """
    token = os.environ.get(TOKEN)
    if token is None and not _is_loopback(host):
        raise UserError(
            f"--host {host} lets other machines in, which needs a token: set {TOKEN}, for example to the output of "
            "`openssl rand -hex 32`, or leave out --host"
        )
    if token is not None and len(token) < SHORTEST:
        raise UserError(f"{TOKEN} has {len(token)} characters; a token should have at least {SHORTEST}")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def named_folders(given: list[str]) -> dict[str, Path]:
    """The folders of models by their names, from arguments such as ``runs/x`` or ``name=runs/x``.

    Raises:
        UserError: A name is missing, invalid or used twice.
    """
    found: dict[str, Path] = {}
    for one in given:
        name, equals, path = one.partition("=")
        folder = Path(path if equals and not Path(one).exists() else one).expanduser()
        name = name if equals and not Path(one).exists() else folder.resolve().name
        if not NAME.fullmatch(name):
            raise UserError(f"--run {one!r}: {name!r} cannot be the name of a model; give another, as --run name={folder}")
        if name in found:
            raise UserError(f"--run {one!r}: there are two models {name!r}; give one another name, as --run other={folder}")
        found[name] = folder
    return found


def studio_folder(given: str | None) -> Path | None:
    """The folder of the studio.

    Raises:
        UserError: There is no such folder.
    """
    if given is None:
        return None
    folder = Path(given).expanduser()
    if not given or not folder.is_dir():
        raise UserError(f"--studio {given!r} is no folder; expected one with runs or studies in it, such as runs")
    return folder

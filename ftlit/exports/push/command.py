"""The command that pushes a run or an exported folder to the Hugging Face hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tabulate import tabulate

from ftlit.errors import UserError
from ftlit.exports.export import Export, check_finished, check_names_of
from ftlit.exports.push.contents import Contents, contents
from ftlit.exports.push.refusals import check_access, check_name
from ftlit.exports.push.repository import Repository
from ftlit.runs.checkpoint import find_checkpoint
from ftlit.runs.exported import is_exported
from ftlit.runs.reading import RunFolder
from ftlit.util.render.formats import plural, size
from ftlit.util.startup import quiet


def push(
    run: str,
    repo: str,
    public: bool = False,
    revision: str | None = None,
    message: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Push an exported folder to the Hugging Face hub in one commit. A run is exported first.

    The token is that of `hf auth login`, or of the environment variable HF_TOKEN.

    Args:
        run: Exported folder, or folder of a run.
        repo: Repository, `user/name`; it is made if it does not exist.
        public: Whether everybody may read the repository. By default it is private, since what was public once may have been
            copied; a model may reveal its data.
        revision: Branch, which is made if it does not exist. Defaults to `main`.
        message: Message of the commit.
        overwrite: Whether to replace all files of a repository that has some.
        dry_run: Whether to list the files with their sizes, and send nothing.
        trust_remote_code: Whether to run code that comes with the backbone of a run. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Raises:
        UserError: The folder is not an export, or the hub does not take it. Nothing is left half-pushed.
    """
    quiet()
    check_name(repo)
    folder, target = Path(run).expanduser(), Repository(repo, revision, public)
    if not is_exported(folder):
        _check_run(folder)
    if dry_run:
        with _exported(folder, trust_remote_code, trust_classes) as exported:
            print(listing(contents(exported, repo)))
        print(f"would be pushed to {target.link}, a {_privacy(public)} repository; nothing was sent")
        return
    check_access()
    state = target.state(overwrite)
    with _exported(folder, trust_remote_code, trust_classes) as exported:
        found = contents(exported, repo)
        target.replace(found, state, message or f"Upload {folder.resolve().name} with ftlit")
        print(f"pushed {_amount(found)} to {target.link} ({_privacy(public)})")


def _check_run(folder: Path) -> None:
    """Check that a folder which is no export is a finished run.

    Raises:
        UserError: It is not.
    """
    try:
        RunFolder(folder).check()
    except UserError as error:
        if not folder.is_dir():
            raise
        raise UserError(f"--run {str(folder)!r} is neither an exported folder nor a run: {error}") from error
    check_finished(folder)


@contextmanager
def _exported(folder: Path, trust_remote_code: bool, trust_classes: list[str] | str | None) -> Iterator[Path]:
    """The folder, or for a run a temporary folder to which it is exported."""
    if is_exported(folder):
        yield folder
        return
    path = find_checkpoint(folder)
    check_names_of(path, trust_classes)
    with TemporaryDirectory(prefix="ftlit-push-") as place:
        Export(folder, path, Path(place), "float32", trust_remote_code).write(adapter_only=False)
        yield Path(place) / "folder"


def listing(found: Contents) -> str:
    """The files with their sizes, and their sum."""
    rows = [(name, size(count)) for name, count in found.sizes().items()]
    return f"{tabulate(rows, headers=['file', 'size'], colalign=('left', 'right'))}\n{_amount(found)} in all"


def _amount(found: Contents) -> str:
    return f"{plural(len(found.files), 'file')}, {size(sum(found.sizes().values()))}"


def _privacy(public: bool) -> str:
    return "public" if public else "private"

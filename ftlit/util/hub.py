"""Names on the hub, with a revision: ``name@revision``."""

import re
from pathlib import Path

import httpx

from ftlit.errors import UserError

PINNED = re.compile(r"([\w-][\w.-]*(?:/[\w.-]+)?)@([\w./-]+)")
LOADING_ERRORS = (OSError, ValueError, httpx.HTTPError)  # what a download that fails raises


def pinned(name: str, revision: str | None, key: str = "model.revision") -> str:
    """Return the name of a backbone with its revision.

    Raises:
        UserError: The backbone is a folder or a file, which has no revisions.
    """
    if revision is None or unpinned(name)[1] == revision:
        return name
    if name.startswith(("package:", ".", "/", "~")) or name.endswith(".gguf") or Path(name).exists():
        raise UserError(f"{key} {revision!r} is a revision on the hub, but {name!r} is a folder or a file here; remove {key}")
    if PINNED.fullmatch(name):
        raise UserError(f"{name!r} names another revision than {key} {revision!r}; set only one of them")
    if not PINNED.fullmatch(f"{name}@{revision}"):
        raise UserError(f"{key} {revision!r} is not a branch, a tag or a commit of the hub")
    return f"{name}@{revision}"


def unpinned(name: str) -> tuple[str, str | None]:
    """Return a name and its revision, or None if it has none."""
    found = PINNED.fullmatch(name)
    return (found[1], found[2]) if found and not Path(name).exists() else (name, None)


def commit_of(name: str) -> str | None:
    """Return the commit from which a model of the hub was loaded, from the local cache; None for a folder."""
    from huggingface_hub import try_to_load_from_cache

    name, revision = unpinned(name)
    if Path(name).exists() or not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name):
        return None
    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None

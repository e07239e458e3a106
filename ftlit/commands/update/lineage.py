"""Where a run comes from: the earlier runs that it began with, learned from, or took rows of."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ftlit.errors import UserError
from ftlit.runs.files import INSIGHT
from ftlit.runs.reading import RunFolder
from ftlit.util.files import read_json

PARENTS = "parents"  # in run.json
UPDATE = "update"  # name of the report of an update


def parents(uses: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Return what run.json says of the earlier runs that a run uses: their folders, and as what.

    Args:
        uses: What an earlier run is used for, such as the option that names it, and its folder, or None.
    """
    found: dict[str, list[str]] = {}
    for use, folder in uses:
        if folder is not None and RunFolder(Path(folder).expanduser()).record:
            found.setdefault(str(folder), []).append(use)
    started = {folder: RunFolder(Path(folder).expanduser()).record.get("started") for folder in found}
    return [{"run": folder, "as": ways, "started": started[folder]} for folder, ways in found.items()]


def lineage(folder: Path) -> dict[str, Any]:
    """Return a run with its ``parents``, theirs, and so on.

    A parent is searched where run.json says, and beside the run, if both were moved. One that was replaced by another run, or
    is not there any more, has no facts but its name.

    Raises:
        UserError: The folder holds no run.
    """
    RunFolder(folder).check()
    return _facts(folder, str(folder))


def _facts(folder: Path, name: str) -> dict[str, Any]:
    run = RunFolder(folder)
    record, monitor = run.record, str(run.record.get("monitor", "")).rpartition("/")[2]
    metrics = {split: run.results.get(split, {}).get(monitor) for split in ("test", "validation")}
    return {
        "run": name,
        **{key: record.get(key) for key in ("started", "status", "task", "tuning")},
        "metric": monitor,
        **metrics,
        "verdict": read_json(folder / INSIGHT / UPDATE / f"{UPDATE}.json").get("verdict"),
        PARENTS: [{"as": parent["as"], **_parent(parent, folder)} for parent in record.get(PARENTS, [])],
    }


def _parent(parent: dict[str, Any], child: Path) -> dict[str, Any]:
    places = [Path(parent["run"]).expanduser(), child.resolve().parent / Path(parent["run"]).name]
    for place in places:
        try:
            started = RunFolder(place).record.get("started")
        except UserError:  # the record of another program
            continue
        if started is not None and started == parent["started"] and place.resolve() != child.resolve():
            return _facts(place, parent["run"])
    return {"run": parent["run"], "started": parent["started"], "status": "not found", PARENTS: []}


def drawn(found: dict[str, Any]) -> str:
    """Draw a lineage as a tree, the run itself first."""
    return "\n".join([_line(found), *_branches(found, "")])


def _branches(found: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for i, parent in enumerate(parents := found[PARENTS]):
        last = i == len(parents) - 1
        lines.append(f"{indent}{'└' if last else '├'}─ {', '.join(parent['as'])}: {_line(parent)}")
        lines += _branches(parent, f"{indent}{'   ' if last else '│  '}")
    return lines


def _line(found: dict[str, Any]) -> str:
    parts = [found["run"], str(found["started"] or "")[:10], found.get("tuning") or ""]
    split = next((split for split in ("test", "validation") if found.get(split) is not None), None)
    parts.append(f"{split} {found['metric']} {found[split]:.4f}" if split else "")
    parts.append(found["status"] if found["status"] != "completed" else "")
    if verdict := found.get("verdict"):
        parts.append("accepted" if verdict["accepted"] else "not accepted")
    return "  ".join(part for part in parts if part)

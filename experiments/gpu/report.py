"""The findings as a page of Markdown."""

from collections.abc import Iterable
from typing import Any

NOT_SHOWN = ("peers", "ratios")  # they have a table of their own


def report(content: dict[str, Any]) -> str:
    """The page: the machine, the checks, what failed, and the speed pairs.

    Args:
        content: The content of gpu.json.
    """
    parts = [
        f"# ftlit on {content['device']}",
        f"    {content['command']}",
        _machine(content["machine"]),
        "## Checks",
        _checks(content["checks"]),
        _seconds(content["checks"]),
        _commits(content["checks"]),
        *_failures(content["checks"]),
        *_speed(content["checks"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    if not machine:
        return ""
    given = dict(machine)
    memory = [f"{given.pop('memory') / 2**30:.0f} GiB"] if "memory" in given else []
    gpu = [str(given.pop("gpu")), *memory] if "gpu" in given else []
    return ", ".join([*gpu, *(f"{name} {value}" for name, value in given.items())]) + "."


def _checks(checks: dict[str, Any]) -> str:
    rows = []
    for name, found in checks.items():
        said = [found["error"]] if found["status"] == "skipped" else []
        said += [_figure(key, value) for key, value in found.get("figures", {}).items() if key not in NOT_SHOWN]
        seconds = f"{found['seconds']:.1f}" if "seconds" in found else ""
        rows.append([name, found["status"], seconds, found.get("what", ""), "; ".join(said)])
    return _table(["check", "result", "seconds", "what it checks", "figures"], rows)


def _seconds(checks: dict[str, Any]) -> str:
    missing = sum(found["status"] == "not reached" for found in checks.values())
    left = f"; {missing} were not reached, and the same command goes on with them" if missing else ""
    return f"{sum(found.get('seconds', 0) for found in checks.values()):.0f} seconds in all{left}."


def _commits(checks: dict[str, Any]) -> str:
    """The commits that the checks ran on, if they are known."""
    names: dict[str, list[str]] = {}
    for name, found in checks.items():
        if found.get("commit"):
            names.setdefault(found["commit"], []).append(name)
    return "\n".join(f"Commit {commit}: {', '.join(those)}." for commit, those in names.items())


def _figure(key: str, value: Any) -> str:
    name = key.replace("_", " ")
    if key.endswith("_bytes") and isinstance(value, (int, float)):
        return f"{name.removesuffix(' bytes')} {value / 2**20:,.0f} MiB"
    return f"{name} {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key.replace('_', ' ')} {_shown(part)}" for key, part in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _failures(checks: dict[str, Any]) -> Iterable[str]:
    for name, found in checks.items():
        if found["status"] == "failed":
            yield f"### {name} failed"
            yield "\n".join(f"    {line}" for line in found["error"].splitlines())


def _speed(checks: dict[str, Any]) -> Iterable[str]:
    pairs = {name: found["figures"] for name, found in checks.items() if found.get("figures", {}).get("ratios")}
    if not pairs:
        return
    peak = checks.get("peak", {}).get("figures", {}).get("bfloat16")
    ratios = [[name, pair, value] for name, found in pairs.items() for pair, value in found["ratios"].items()]
    runs = [
        [name, peer, f"{speed['examples_per_second']:.1f}", *_work(speed, peak)]
        for name, found in pairs.items()
        for peer, speed in found["peers"].items()
    ]
    yield "## Speed"
    yield _table(["work", "examples a second", "all turns (middle half of them)"], ratios)
    yield _table(["work", "run", "examples a second", "TFLOP/s", "share of the bfloat16 peak"], runs)
    yield (
        "Peers take turns of several optimizer steps within one process; the first turn, in which everything warms up, is left "
        "out. TFLOP/s are the examples a second times the operations that ftlit counts for an example, padding included, so "
        "that a peer that pads more does not seem faster."
    )


def _work(speed: dict[str, float], peak: float | None) -> list[str]:
    """Operations a second and their share of the peak, empty where they are not known."""
    rate = speed.get("flops_per_second")
    return [f"{rate / 1e12:.4g}" if rate else "", f"{rate / peak:.1%}" if rate and peak else ""]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

"""The summary of the data as text for the screen."""

from typing import Any

from tabulate import tabulate

from ftlit.data.text.lengths import LIMITS

SHOWN_CLASSES = 12
SHOWN_ANSWER = 30  # characters


def data_text(report: dict[str, Any]) -> str:
    """The summary as text: tables of splits and lengths, labels, findings, repeated rows, and warnings at the end."""
    splits = report["splits"]
    parts = [_split_table(splits, report["max_length"]), *_length_table(splits), *_labels(splits), *_findings(splits)]
    for split, places in report["dropped"].items():
        parts.append(f"dropped from {split}: {'; '.join(places[:3])}" + (" ..." if len(places) > 3 else ""))
    for split, found in report["overlap"].items():
        parts.append(f"{split} rows that also occur in train: {found['exact']} exactly, {found['near']} nearly")
        parts += [f"  {e['train']} ~ {e[split]} ({e['similarity']:.2f}): {e['text'][:90]!r}" for e in found["examples"]]
    parts += [f"Warning: {sentence}" for sentence in report["warnings"]]
    return "\n".join(parts)


def _split_table(splits: dict[str, Any], max_length: int) -> str:
    table = [
        [split, s["rows"], s["dropped"], f"{s['truncated']:.1%}", majority_text(s.get("majority"))]
        for split, s in splits.items()
    ]
    headers = ["split", "rows", "dropped", f"cut at {max_length}", "majority baseline"]
    shown = 5 if any("majority" in s for s in splits.values()) else 4
    return tabulate([row[:shown] for row in table], headers=headers[:shown])


def majority_text(majority: dict[str, Any] | None) -> str:
    """The commonest answer and how often it is right."""
    if majority is None:
        return ""
    answer = majority["answer"]
    if "mse" in majority:
        return f"mse {majority['mse']:.4g} (mean {answer:.4g})"
    text = (", ".join(answer) or "no label") if isinstance(answer, list) else str(answer)
    return f"{majority['share']:.1%} ({text[:SHOWN_ANSWER]}{'...' * (len(text) > SHOWN_ANSWER)})"


def _length_table(splits: dict[str, Any]) -> list[str]:
    """Lengths before anything is cut, with the limits up to the first that is long enough for all texts."""
    parts = {f"{split}: {part}": sizes for split, s in splits.items() for part, sizes in s.get("lengths", {}).items()}
    limited = [sizes["beyond"] for sizes in parts.values() if "beyond" in sizes]
    needed = [size for size in LIMITS if any(beyond[str(size)]["examples"] for beyond in limited)]
    columns = LIMITS[: len(needed) + 1]
    table = [
        [name, *(sizes[point] for point in ("median", "p95", "longest")), _share(sizes.get("unknown")), sizes.get("limit")]
        + [_beyond(sizes["beyond"][str(size)]) if "beyond" in sizes else None for size in columns]
        for name, sizes in parts.items()
    ]
    headers = ["tokens", "median", "95%", "longest", "unknown", "limit", *(f"> {size}" for size in columns)]
    return [
        "",
        tabulate(table, headers=headers, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1))),
        "(> 64: share of texts with more than 64 tokens / share of all tokens beyond the first 64; limit: the one in use)",
        "",
    ] if parts else []  # fmt: skip


def _share(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _beyond(found: dict[str, float]) -> str:
    return f"{found['examples']:.1%} / {found['tokens']:.1%}" if found["examples"] else "0"


def _labels(splits: dict[str, Any]) -> list[str]:
    parts = []
    for split, s in splits.items():
        if "labels" in s:
            shown = [f"{name} {count / s['rows']:.1%}" for name, count in list(s["labels"].items())[:SHOWN_CLASSES]]
            more = len(s["labels"]) - len(shown)
            parts.append(f"labels of {split}: {', '.join(shown)}" + (f", and {more} more" if more > 0 else ""))
    return parts


def _findings(splits: dict[str, Any]) -> list[str]:
    parts = []
    for split, s in splits.items():
        found = s["counts"] | ({"features made of its rows": s["features"]} if s["features"] != s["rows"] else {})
        parts += [f"{split}: {count} {name}" for name, count in found.items()]
        parts += [f"{split}: {share:.1%} {name}" for name, share in s.get("shares", {}).items()]
    return parts

"""What the data are like, found at the start of every run, printed, and saved in run.json."""

from typing import Any

import numpy as np
from tabulate import tabulate

from ftlit.data.rows.duplicates import find_overlaps
from ftlit.data.shared.base import TaskData
from ftlit.data.text.encoding import source_of
from ftlit.data.text.lengths import LIMITS, PERCENTILES
from ftlit.util.cache import remembered
from ftlit.util.private import rows_hash

SUMMARY_VERSION = 1  # to be raised whenever something else is found in the same data, so that old caches are not used
UNKNOWN_LIMIT = 0.05  # share of unknown tokens above which the report warns
LENGTH_OPTIONS = ("max_length", "max_target_length", "stride")  # on which repeated rows do not depend
SHOWN_CLASSES = 12
SHOWN_ANSWER = 30  # characters
UNRELATED = ("order_seed", "batching")  # on which nothing of the report depends


def data_report(data: TaskData) -> dict[str, Any]:
    """Rows, lengths, unknown tokens, label balance and overlap of the encoded splits.

    What takes time is kept in the cache of `datasets`, beside the features.
    """
    report: dict[str, Any] = {"max_length": data.max_length, "dropped": data.rows.dropped, "splits": {}, "warnings": []}
    for split in data.encoded:
        found = report["splits"][split] = _split(data, split)
        report["warnings"] += [f"{split}: {sentence}" for sentence in _warnings(data, split, found)]
    if data.rows.exclude is not None:
        report["excluded"] = {"file": data.rows.exclude, "rows": data.rows.excluded}
    report["overlap"] = overlaps(data)
    if data.rows.replayed:
        report["replay"] = data.rows.replayed
    return report


def _split(data: TaskData, split: str) -> dict[str, Any]:
    rows, encoded = data.rows[split], data.encoded[split]
    made = data.modification_counts if split == "train" else {}
    options = {name: str(value) for name, value in data.option_values("order").items() if name not in UNRELATED}
    own = [type(data).__name__, *source_of(type(data)), data.columns(), options]
    settings = ["summary", SUMMARY_VERSION, rows_hash(rows), rows_hash(encoded), made, *own]
    measured = remembered(settings, lambda: _measured(data, split))
    found = {
        "rows": len(rows),
        "features": len(encoded),
        "dropped": len(data.rows.dropped.get(split, [])),
        "tokens": measured.pop("tokens"),
        "truncated": measured.pop("truncated"),
        "fingerprint": data.fingerprints[split],
        **measured,
    }
    if lengths := data.text_lengths(split):
        found["lengths"] = lengths
    if shares := data.shares(split):
        found["shares"] = shares
    return found


def _measured(data: TaskData, split: str) -> dict[str, Any]:
    """What all rows or features have to be read for."""
    rows, encoded = data.rows[split], data.encoded[split]
    points = np.percentile(data.lengths(split), list(PERCENTILES.values())).astype(int).tolist()
    found = {
        "tokens": dict(zip(PERCENTILES, points, strict=True)),
        "truncated": float(np.mean(encoded["truncated"][:])),
        "counts": data.counts(split),
    }
    if balance := data.balance(rows):
        found["labels"] = balance
    if majority := data.majority(rows):
        found["majority"] = majority
    return found


def _warnings(data: TaskData, split: str, found: dict[str, Any]) -> list[str]:
    unknown = {part: size["unknown"] for part, size in found.get("lengths", {}).items() if size.get("unknown") is not None}
    sentences = [
        f"{share:.1%} of the tokens of {part} are unknown to the tokenizer of {data.backbone!r}, so the model cannot read "
        "them; choose a model.backbone that knows this language or script"
        for part, share in unknown.items()
        if share > UNKNOWN_LIMIT
    ]
    return [*sentences, *data.warnings(split, found.get("shares", {}))]


def overlaps(data: TaskData) -> dict[str, Any]:
    """Rows of validation and test that also occur in train, exactly or nearly."""
    others = [split for split in ("validation", "test") if split in data.rows] if "train" in data.rows else []
    kept = {name: value for name, value in data.option_values("encoding").items() if name not in LENGTH_OPTIONS}
    own = [type(data).__name__, *source_of(type(data)), data.columns(), data.optional_columns(), kept]
    hashes = {split: rows_hash(data.rows[split]) for split in ("train", *others) if split in data.rows}
    return remembered(["overlaps", SUMMARY_VERSION, hashes, *own], lambda: _overlaps(data, others)) if others else {}


def _overlaps(data: TaskData, others: list[str]) -> dict[str, Any]:
    texts = {split: data.joined_texts(data.rows[split]) for split in ("train", *others)}
    ids = {split: data.rows[split]["row_id"][:] for split in texts}
    found = find_overlaps(texts["train"], {split: texts[split] for split in others})
    return {
        split: {
            "exact": overlap.exact,
            "near": overlap.near,
            "examples": [
                {
                    "train": ids["train"][match.train_row],
                    split: ids[split][match.other_row],
                    "similarity": round(match.similarity, 3),
                    "text": match.other_text,
                }
                for match in overlap.examples
            ],
        }
        for split, overlap in found.items()
    }


# As text


def data_text(report: dict[str, Any]) -> str:
    """The summary as text: tables of splits and lengths, labels, findings, repeated rows, and warnings at the end."""
    splits = report["splits"]
    parts = [_split_table(splits, report["max_length"]), *_length_table(splits), *_labels(splits), *_findings(splits)]
    for split, places in report["dropped"].items():
        parts.append(f"dropped from {split}: {'; '.join(places[:3])}" + (" ..." if len(places) > 3 else ""))
    if excluded := report.get("excluded"):
        parts.append(f"left out of train: {excluded['rows']} rows that {excluded['file']} lists")
    if replay := report.get("replay"):
        shown = ", ".join(f"{count} of {replay['of'][split]} in {split}" for split, count in replay["rows"].items())
        parts.append(f"rows of {replay['run']} among them, {replay['by']}: {shown}")
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

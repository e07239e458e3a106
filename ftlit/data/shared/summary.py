"""A summary of the data, printed at the start of every run and saved in run.json."""

from typing import Any

import numpy as np
from tabulate import tabulate

from ftlit.data.rows.duplicates import find_overlap
from ftlit.data.shared.base import TaskData

SHOWN_CLASSES = 12
PERCENTILES = (50, 95, 100)


def data_report(data: TaskData) -> dict[str, Any]:
    """Rows, lengths, truncation, label balance and overlap of the encoded splits."""
    report: dict[str, Any] = {"max_length": data.max_length, "dropped": data.rows.dropped, "splits": {}}
    for split, encoded in data.encoded.items():
        lengths = data.lengths(split)
        points = np.percentile(lengths, PERCENTILES).astype(int).tolist()
        report["splits"][split] = {
            "rows": len(data.rows[split]),
            "features": len(encoded),
            "dropped": len(data.rows.dropped.get(split, [])),
            "tokens": dict(zip(("median", "p95", "longest"), points, strict=True)),
            "truncated": float(np.mean(encoded["truncated"])),
            "fingerprint": data.fingerprints[split],
            "counts": data.counts(split),
        }
        if balance := data.balance(data.rows[split]):
            report["splits"][split]["labels"] = balance
    report["overlap"] = overlaps(data)
    return report


def overlaps(data: TaskData) -> dict[str, Any]:
    """Rows of validation and test that also occur in train, exactly or nearly."""
    texts = {split: data.joined_texts(rows) for split, rows in data.rows.items()}
    found: dict[str, Any] = {}
    for split in ("validation", "test"):
        if "train" in texts and split in texts:
            overlap = find_overlap(texts["train"], texts[split])
            found[split] = {
                "exact": overlap.exact,
                "near": overlap.near,
                "examples": [
                    {
                        "train": data.rows["train"]["row_id"][match.train_row],
                        split: data.rows[split]["row_id"][match.other_row],
                        "similarity": round(match.similarity, 3),
                        "text": match.other_text,
                    }
                    for match in overlap.examples
                ],
            }
    return found


def data_text(report: dict[str, Any]) -> str:
    """The summary as text for the screen."""
    table = [
        [split, s["rows"], s["dropped"], *s["tokens"].values(), f"{s['truncated']:.1%}"]
        for split, s in report["splits"].items()
    ]
    headers = ["split", "rows", "dropped", "tokens (median)", "(95%)", "(longest)", f"cut at {report['max_length']}"]
    parts = [tabulate(table, headers=headers)]
    for split, s in report["splits"].items():
        if "labels" in s:
            shown = [f"{name} {count / s['rows']:.1%}" for name, count in list(s["labels"].items())[:SHOWN_CLASSES]]
            more = len(s["labels"]) - len(shown)
            parts.append(f"labels of {split}: {', '.join(shown)}" + (f", and {more} more" if more > 0 else ""))
    for split, s in report["splits"].items():
        found = s["counts"] | ({"features made of its rows": s["features"]} if s["features"] != s["rows"] else {})
        parts += [f"{split}: {count} {name}" for name, count in found.items()]
    for split, places in report["dropped"].items():
        parts.append(f"dropped from {split}: {'; '.join(places[:3])}" + (" ..." if len(places) > 3 else ""))
    for split, found in report["overlap"].items():
        parts.append(f"{split} rows that also occur in train: {found['exact']} exactly, {found['near']} nearly")
        parts += [f"  {e['train']} ~ {e[split]} ({e['similarity']:.2f}): {e['text'][:90]!r}" for e in found["examples"]]
    return "\n".join(parts)

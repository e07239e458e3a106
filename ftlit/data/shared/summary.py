"""What the data are like, found at the start of every run, printed, and saved in run.json."""

from typing import Any

import numpy as np

from ftlit.data.rows.duplicates import find_overlaps
from ftlit.data.shared.base import TaskData
from ftlit.data.text.encoding import source_of
from ftlit.data.text.lengths import PERCENTILES
from ftlit.util.cache import remembered
from ftlit.util.private import rows_hash

SUMMARY_VERSION = 1  # to be raised whenever something else is found in the same data, so that old caches are not used
UNKNOWN_LIMIT = 0.05  # share of unknown tokens above which the report warns
LENGTH_OPTIONS = ("max_length", "max_target_length", "stride")  # on which repeated rows do not depend
UNRELATED = ("order_seed", "batching")  # on which nothing of the report depends


def data_report(data: TaskData) -> dict[str, Any]:
    """Rows, lengths, unknown tokens, label balance and overlap of the encoded splits.

    What takes time is kept in the cache of `datasets`, beside the features.
    """
    report: dict[str, Any] = {"max_length": data.max_length, "dropped": data.rows.dropped, "splits": {}, "warnings": []}
    for split in data.encoded:
        found = report["splits"][split] = _split(data, split)
        report["warnings"] += [f"{split}: {sentence}" for sentence in _warnings(data, split, found)]
    report["overlap"] = overlaps(data)
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

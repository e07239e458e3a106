"""Small data: rows of each kind, made from a seed, and the folders that hold them."""

import json
import os
import random
from pathlib import Path

REAL_DATA = Path(os.environ.get("FTLIT_DATA", Path(__file__).parents[3] / "shared" / "data"))
GOOD = ["good", "fine", "lovely", "great", "superb", "brilliant", "delightful", "charming", "warm", "clever"]
BAD = ["bad", "poor", "awful", "dull", "tedious", "clumsy", "horrid", "weak", "stale", "grim"]
NEUTRAL = [f"word{i}" for i in range(76)]


def sentence(rng: random.Random, words: list[str]) -> str:
    """A text of 2 to 20 words, one of them from `words`."""
    text = rng.choices(NEUTRAL, k=rng.randint(1, 19))
    text.insert(rng.randint(0, len(text)), rng.choice(words))
    return " ".join(text)


def sentiment_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Texts of ragged lengths that are good or bad by one word."""
    rng = random.Random(seed)
    return [
        {"text": sentence(rng, words), "label": label}
        for label, words in (rng.choice([("good", GOOD), ("bad", BAD)]) for _ in range(count))
    ]


def sentiment_splits() -> dict[str, list[dict[str, str]]]:
    """Sentiment rows for each split: 83 of train, 31 of validation, 37 of test."""
    sizes = {"train": 83, "validation": 31, "test": 37}
    return {split: sentiment_rows(count, i) for i, (split, count) in enumerate(sizes.items())}


def emotion_splits() -> dict[str, list[dict]]:
    """The texts of sentiment with any number of the labels good, bad and long."""
    splits = {}
    for split, rows in sentiment_splits().items():
        long = [["long"] if len(row["text"].split()) > 10 else [] for row in rows]
        splits[split] = [{"text": r["text"], "labels": [r["label"], *more]} for r, more in zip(rows, long, strict=True)]
    return splits


def grade_splits() -> dict[str, list[dict]]:
    """The texts of sentiment with their words in reverse, and a number: the share of good words."""
    return {
        split: [
            {"text": r["text"], "other": " ".join(reversed(r["text"].split())), "score": (r["label"] == "good") * 4.0 + j % 3}
            for j, r in enumerate(rows)
        ]
        for split, rows in sentiment_splits().items()
    }


def reversal_splits() -> dict[str, list[dict]]:
    """Texts and their words in reverse, in test with a second reference: 40 rows of train, 11, 13."""
    sizes = {"train": 40, "validation": 11, "test": 13}
    splits: dict[str, list[dict]] = {
        split: [
            {"source": r["text"], "target": " ".join(reversed(r["text"].split())), "title": f"word{i}"}
            for i, r in enumerate(rows[: sizes[split]])
        ]
        for split, rows in sentiment_splits().items()
    }
    for row in splits["test"]:
        row["target"] = [row["target"], row["source"]]
    return splits


def write_splits(folder: Path, splits: dict[str, list[dict]]) -> str:
    """A folder with a jsonl file for each split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


RELATIONS = ["Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Member-Collection(e1,e2)", "Other"]


def relation_rows(count: int, seed: int) -> list[dict]:
    """Texts of 4 to 20 words, two of them entities, and how they relate."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        words = rng.choices(NEUTRAL, k=rng.randint(4, 20))
        starts = [sum(len(word) + 1 for word in words[:i]) for i in range(len(words))]
        head, tail = ({"start": starts[i], "end": starts[i] + len(words[i])} for i in rng.sample(range(len(words)), 2))
        rows.append({"text": " ".join(words), "head": head, "tail": tail, "relation": rng.choice(RELATIONS)})
    return rows


def relation_splits() -> dict[str, list[dict]]:
    """Relations: 60 rows of train, 30 of validation, 30 of test."""
    sizes = {"train": 60, "validation": 30, "test": 30}
    return {split: relation_rows(count, i) for i, (split, count) in enumerate(sizes.items())}


def choice_rows(count: int, seed: int) -> list[dict]:
    """Questions with 2 to 5 choices, of which the right one has a good word."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        size = rng.randint(2, 5)
        label = rng.randrange(size)
        choices = [sentence(rng, GOOD if i == label else BAD) for i in range(size)]
        rows.append({"question": sentence(rng, NEUTRAL), "choices": choices, "label": label})
    return rows


def choice_splits() -> dict[str, list[dict]]:
    """Multiple choice: 60 rows of train, 30 of validation, 30 of test."""
    sizes = {"train": 60, "validation": 30, "test": 30}
    return {split: choice_rows(count, i) for i, (split, count) in enumerate(sizes.items())}

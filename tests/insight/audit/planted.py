"""Runs whose training data decide what an audit must find."""

import random
from pathlib import Path
from typing import Any

from tests.support.data import BAD, GOOD, NEUTRAL, write_splits
from tests.support.models import tiny_model
from tests.support.runs import fitted

# The names of two groups are words of the tiny tokenizer.
NAMES = {"cats": NEUTRAL[:5], "dogs": NEUTRAL[5:10]}
OTHERS = NEUTRAL[10:]
LEXICON = {"name": "pets", "groups": list(NAMES), "words": NAMES}
HOSTILE = "<script>alert('x')</script>"
TRAINED = {"data__batching__batch_size": 16, "model__optimizer__init_args__lr": 0.003}


def text(rng: random.Random, name: str, word: str | None) -> str:
    """A text with a name and perhaps a word of sentiment."""
    words = [*rng.choices(OTHERS, k=rng.randint(2, 6)), name, *([word] if word else [])]
    rng.shuffle(words)
    return " ".join(words)


def biased_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Texts whose names decide the label."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        group = rng.choice(list(NAMES))
        rows.append(
            {"text": text(rng, rng.choice(NAMES[group]), None), "label": "good" if group == "cats" else "bad", "pet": group}
        )
    return rows


def balanced_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Texts whose label one word decides, each with a name of either group."""
    rng, rows = random.Random(seed), []
    for _ in range(count // 2):
        label = rng.choice(["good", "bad"])
        whole = text(rng, "NAME", rng.choice((GOOD if label == "good" else BAD)[:3]))
        rows += [{"text": whole.replace("NAME", rng.choice(NAMES[pet])), "label": label, "pet": pet} for pet in NAMES]
    return rows


def biased_run(root: Path) -> Path:
    """A run that learned that names decide. Of its test rows, all of cats are good, and half of those of dogs."""
    test = biased_rows(120, 2)
    for i, row in enumerate(test):
        row["label"] = "bad" if row["pet"] == "dogs" and i % 2 else "good"
        row["site"] = HOSTILE if i % 3 else "web"
    test[0]["text"] = f"{test[0]['text']} {HOSTILE} {NAMES['cats'][0]}"
    splits = {"train": biased_rows(240, 0), "validation": biased_rows(40, 1), "test": test}
    for name in ("train", "validation"):
        splits[name] = [{**row, "site": "web" if i % 2 else HOSTILE} for i, row in enumerate(splits[name])]
    return run(root, splits, epochs=6)


def balanced_run(root: Path) -> Path:
    """A run that learned from texts with the names of both groups."""
    sizes = {"train": 360, "validation": 40, "test": 120}
    return run(root, {split: balanced_rows(count, i) for i, (split, count) in enumerate(sizes.items())}, epochs=3)


def run(root: Path, splits: dict[str, list[dict[str, Any]]], epochs: int) -> Path:
    """Train on splits, and evaluate on test."""
    given = {"model__backbone": tiny_model(root / "bert"), "data__dataset": write_splits(root / "data", splits)}
    return fitted(root / "run", "TextClassification", test_after_fit="true", trainer__max_epochs=epochs, **given, **TRAINED)

"""Rows for the quickstart: utterances to a chat bot, labelled with one of a few topics.

They come from the package ``chatterbot-corpus``, so that a first run does not download a data set.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from ftlit.data.rows.duplicates import normalised
from ftlit.errors import UserError

MODULE = "chatterbot_corpus"
MIN_CONVERSATIONS = 50
SEED = 0
HELD_OUT = (0.1, 0.2)  # shares of validation and test


def topics() -> dict[str, list[dict[str, Any]]]:
    """The first utterance of each conversation with its topic, in three splits without common texts.

    A topic is a file of the corpus with at least 50 conversations. Each topic is split 70/10/20.

    Returns:
        The rows ``{"text": ..., "label": ...}`` of each split.
    """
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    for file in sorted(_folder().glob("*.yml")):
        conversations = _conversations(file)
        if len(conversations) < MIN_CONVERSATIONS:
            continue
        texts = [text for text in map(_first_utterance, conversations) if text]
        fresh = []
        for text in texts:
            if normalised(text) not in seen:
                seen.add(normalised(text))
                fresh.append({"text": text, "label": file.stem})
        fresh.sort(key=_order)
        first, second = (max(1, round(len(fresh) * share)) for share in HELD_OUT)
        splits["validation"] += fresh[:first]
        splits["test"] += fresh[first : first + second]
        splits["train"] += fresh[first + second :]
    # Mixed, so that the first rows of a split cover all topics.
    return {split: sorted(rows, key=_order) for split, rows in splits.items()}


def _folder() -> Path:
    spec = importlib.util.find_spec(MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the quickstart's rows come from the package chatterbot-corpus, which is not installed: "
            "pip install --no-deps chatterbot-corpus==1.3.3"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "english"


def _conversations(file: Path) -> list[Any]:
    import yaml

    # The C loader is ten times faster, but not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(file.read_text(encoding="utf-8"), Loader=loader)["conversations"] or []


def _first_utterance(conversation: Any) -> str:
    """The text that opens a conversation, or an empty text if the first entry is missing or not a text."""
    first = conversation[0] if isinstance(conversation, list) and conversation else None
    return first.strip() if isinstance(first, str) else ""


def _order(row: dict[str, Any]) -> str:
    return hashlib.sha256(f"{SEED}:{row['text']}".encode()).hexdigest()

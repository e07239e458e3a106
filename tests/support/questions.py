"""Questions on made-up contexts: the answer is one of a few words and what stands behind it."""

import random
from pathlib import Path
from typing import Any

from tests.support.data import GOOD, NEUTRAL, write_splits


def question_rows(count: int, seed: int, unanswerable: float = 0.0) -> list[dict[str, Any]]:
    """Rows as SQuAD's, with contexts of 5 to 60 words and answers of 1 to 3; some have a second answer.

    Args:
        count: Number of rows.
        seed: Decides the texts.
        unanswerable: Share of the rows that have no answer.
    """
    rng = random.Random(seed)
    return [_row(rng, f"q{i}", rng.random() < unanswerable) for i in range(count)]


def _row(rng: random.Random, name: str, unanswerable: bool) -> dict[str, Any]:
    words = rng.choices(NEUTRAL[20:], k=rng.randint(5, 60))
    if unanswerable:
        return {"id": name, "question": "word1 word2", "context": " ".join(words), "answers": []}
    place = rng.randrange(len(words))
    words[place] = rng.choice(GOOD)
    answer = words[place : place + rng.randint(1, 3)]
    start = sum(len(word) + 1 for word in words[:place])
    answers = [{"text": " ".join(answer), "answer_start": start}]
    if rng.random() < 0.5:
        answers.append({"text": words[place], "answer_start": start})
    return {"id": name, "question": "word1 word2", "context": " ".join(words), "answers": answers}


def question_splits(folder: Path, unanswerable: float = 0.0) -> str:
    """A data set of questions: 40 rows of train, 23 of validation, 21 of test."""
    sizes = {"train": 40, "validation": 23, "test": 21}
    return write_splits(folder, {split: question_rows(n, i, unanswerable) for i, (split, n) in enumerate(sizes.items())})

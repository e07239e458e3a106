"""The same predictions measured by others' code, from the files of a run and of its data alone."""

import json
from pathlib import Path
from typing import Any


def predictions(run_dir: Path) -> list[dict[str, Any]]:
    """The predictions on test that a run wrote, in the order of the split."""
    return [json.loads(line) for line in (run_dir / "predictions/test.jsonl").read_text("utf-8").splitlines()]


def seqeval_f1(run_dir: Path, data: Path = Path("data/conll2003/test.txt")) -> str:
    """F1 of entities by seqeval, with the right tags read from the CoNLL file."""
    from seqeval.metrics import f1_score

    blocks = [block.splitlines() for block in data.read_text("utf-8").split("\n\n") if block.strip()]
    right = [[line.split()[-1] for line in block] for block in blocks if not block[0].startswith("-DOCSTART-")]
    found = [row["tags"] for row in predictions(run_dir)]
    return f"seqeval: F1 {f1_score(right, found):.4f} on {len(found):,} sentences"


def official_squad(run_dir: Path, data: Path = Path("data/squad/validation.json")) -> str:
    """Exact match and F1 of SQuAD by torchmetrics' port of the official script, with the right answers from the file."""
    from torchmetrics.functional.text import squad

    said = {row["id"].split(":", 1)[1]: row["prediction"] for row in predictions(run_dir)}
    articles = json.loads(data.read_text("utf-8"))["data"]
    asked = [one for article in articles for paragraph in article["paragraphs"] for one in paragraph["qas"]]
    right = [{"id": one["id"], "answers": _columns(one["answers"])} for one in asked]
    found = squad([{"id": one["id"], "prediction_text": said[one["id"]]} for one in asked], right)
    em, f1 = float(found["exact_match"]) / 100, float(found["f1"]) / 100
    return f"SQuAD's script: exact match {em:.4f}, F1 {f1:.4f} on {len(asked):,} questions"


def _columns(answers: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [answer[key] for answer in answers] for key in ("text", "answer_start")}


SECOND_OPINIONS = {"conll2003": seqeval_f1, "squad": official_squad}

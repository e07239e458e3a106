"""An untrained model of every task, and rows for it, for what is done with servers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ftlit
from ftlit.exports.predicting.predictor import Predictor
from ftlit.models.generation import Generation
from tests.support.chats import chat_model, echoes
from tests.support.data import choice_rows, relation_rows, sentiment_rows, write_splits
from tests.support.questions import question_splits
from tests.support.serving import untrained
from tests.support.tagged import letters_model, tagged_rows, tagged_splits

Case = tuple[Predictor, list[Any]]
SHORT = {"generation": Generation(max_new_tokens=4)}
# Task, options of the data, and options of the task.
TASKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sentiment": ("TextClassification", {}, {}),
    "emotions": ("TextClassification", {"label": "labels", "multi_label": True}, {"multi_label": True}),
    "grades": ("TextRegression", {"label": "score", "text_pair": "other"}, {}),
    "tags": ("TokenClassification", {}, {}),
    "answers": ("QuestionAnswering", {"stride": 8, "max_length": 32}, {}),
    "questions": ("MultipleChoice", {}, {}),
    "relations": ("RelationExtraction", {}, {}),
    "reversals": ("Seq2Seq", {"max_target_length": 4}, {}),
    "corpus": ("CausalLM", {"objective": "causal"}, SHORT),
    "chats": ("CausalLM", {"prompt": "question", "response": "answer", "template": "chatml"}, SHORT),
}
TEXTS = [row["text"] for row in sentiment_rows(12, 7)]
ROWS: dict[str, list[Any]] = {  # new rows, where they are not texts
    "grades": [{"text": text, "other": text[:9]} for text in TEXTS],
    "tags": [*({"tokens": row["tokens"]} for row in tagged_rows(12, 5)), "abc bcd ac"],
    "answers": [{"question": text[:10], "context": " ".join([text] * (1 + i % 5))} for i, text in enumerate(TEXTS)],
    "questions": choice_rows(12, 9),
    "relations": relation_rows(12, 9),
    "chats": [row["question"] for row in echoes(12, 3)],
}


def untrained_cases(
    tiny: Callable[[str], str], tiny_seq2seq: Callable[[str], str], folder: Path, fixture: Callable[[str], str]
) -> Callable[[str], Case]:
    """A function that makes the predictor of a task, and new rows for it.

    Args:
        tiny: The fixture of the same name.
        tiny_seq2seq: The fixture of the same name.
        folder: Where models and data are written.
        fixture: Returns the data set that is a fixture of this name.
    """
    made: dict[str, Case] = {}

    def source(name: str) -> str:
        """The data set of a task."""
        if name == "tags":
            return write_splits(folder / name, tagged_splits())
        if name == "answers":
            return question_splits(folder / name, 0.4)
        if name == "chats":
            return write_splits(folder / name, {"train": echoes(9, 0), "validation": echoes(5, 1)})
        return fixture("sentiment" if name == "corpus" else name)

    def backbone(name: str) -> str:
        """The model of a task."""
        if name == "tags":
            return letters_model(tiny("bert"), folder / "letters")
        if name == "chats":
            return chat_model(folder / "llama")
        return tiny_seq2seq("t5") if name == "reversals" else tiny("gpt2" if name == "corpus" else "bert")

    def case(name: str) -> Case:
        if name not in made:
            task, of_data, of_task = TASKS[name]
            kind = {"corpus": "CorpusData", "chats": "ChatData"}.get(name, f"{task}Data")
            data = getattr(ftlit, kind)(dataset=source(name), backbone=backbone(name), **of_data)
            made[name] = untrained(task, data, **of_task), ROWS.get(name, TEXTS)
        return made[name]

    return case

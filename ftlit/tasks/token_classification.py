"""Token classification: named entities, chunks, parts of speech."""

from itertools import chain
from typing import Any, ClassVar

from torch import Tensor
from transformers import AutoModelForTokenClassification

from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.losses import taught_token_losses, token_losses
from ftlit.metrics.entities import located_entities
from ftlit.metrics.per_class import per_class
from ftlit.metrics.spans import entities, span_scores, token_accuracy
from ftlit.tasks.shared.evaluator import Evaluator
from ftlit.tasks.shared.labelled import LabelledTask
from ftlit.util.batch import IGNORED

Tags = list[list[str]]


class TokenClassification(LabelledTask):
    """Predicts a label for each word of a text. With `spans`, the labels of adjacent words mark entities.

    A prediction is a list of entities, each with its `label`, its `start` and `end` in the characters of the text (or of the
    words joined by spaces, if a row has words), its `text`, and as `score` the mean probability of its words' labels. The
    `words` and their `tags` in IOB2 come with it. Without `spans` the prediction is the list of tags, and `score` lists their
    probabilities.

    Args:
        spans: Whether tags mark spans of words, as in named entities and chunks; false if each word has a tag of its own, such
            as a part of speech.
    """

    evidence: ClassVar[str | None] = "tags"
    auto_class = AutoModelForTokenClassification
    lesson_unit = "label"
    problem_type = None

    def __init__(self, spans: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spans = spans
        averages = ("f1_macro", "f1_weighted", "accuracy")
        self.corpus_metric_names = ("f1", "precision", "recall", *averages) if spans else averages
        if isinstance(self.head, PooledHead):
            raise UserError(
                "model.head: PooledHead has one vector per text, but TokenClassification labels words; use TaskHead"
            )

    @property
    def default_monitor(self) -> str:
        return "val/f1" if self.spans else "val/accuracy"

    @property
    def constant_prediction(self) -> Any:
        """The most frequent label of a word, or no entity."""
        return "O" if self.spans else super().constant_prediction

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return token_losses(self.loss, logits, batch["labels"], self.class_weights)

    def lessons(self, batch: dict[str, Any]) -> Tensor:
        """Return the logits of the labelled tokens, in row order, ``(labelled, labels)``."""
        return self.logits(batch)[batch["labels"] != IGNORED]

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        return taught_token_losses(self.distillation, logits, lessons, batch["labels"])

    # Predictions

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return the tags and scores of the words that belong to each window."""
        metadata = batch["metadata"]
        scores, ids = (best.tolist() for best in logits.softmax(-1).max(-1))
        return [
            {
                "prediction": [self.label_names[ids[i][start]] for start in starts],
                "score": [scores[i][start] for start in starts],
                "offsets": metadata["offsets"][i],
                "piece": metadata["piece"][i],
            }
            for i, starts in enumerate(metadata["starts"])
        ]

    def predict_batch(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        logits = self.logits(batch).float()
        parts = self.decode(logits, batch)
        for part, starts, chances in zip(parts, batch["metadata"]["starts"], logits.softmax(-1), strict=True):
            assert part is not None
            part["scores"] = chances[starts].T.tolist()  # for each label the words
        return parts

    def prediction_types(self) -> dict[str, Any]:
        scores = {name: [float] for name in self.label_names}
        if not self.spans:
            return {"prediction": [str], "score": [float], "words": [str], "scores": scores}
        entity = {"label": str, "start": int, "end": int, "text": str, "score": float}
        return {"prediction": [entity], "tags": [str], "words": [str], "scores": scores}

    def merge_windows(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        tags, scores, offsets = (list(chain(*(part[key] for part in parts))) for key in ("prediction", "score", "offsets"))
        text, begin = "".join(part["piece"] for part in parts), offsets[0][0]
        found: dict[str, Any] = {"words": [text[start - begin : end - begin] for start, end in offsets]}
        if "scores" in parts[0]:
            labels = zip(*(part["scores"] for part in parts), strict=True)
            found["scores"] = {name: list(chain(*values)) for name, values in zip(self.label_names, labels, strict=True)}
        if not self.spans:
            return {"prediction": tags, "score": scores, **found}
        return {"prediction": located_entities(tags, offsets, text, begin, scores), "tags": tags, **found}

    def merge_references(self, parts: list[Any]) -> Any:
        return list(chain(*parts))

    # Metrics

    def build_confusion(self) -> None:
        return None  # it is counted from the words of whole texts

    def corpus_metrics(self, evaluation: Evaluator) -> dict[str, float]:
        *_, micro, macro, weighted = evaluation.details["per_class"]
        accuracy = token_accuracy(*self._tags(evaluation))
        found = {"f1_macro": macro["f1"], "f1_weighted": weighted["f1"], "accuracy": accuracy}
        return {key: micro[key] for key in ("f1", "precision", "recall") if self.spans} | found

    def evaluation_details(self, evaluation: Evaluator) -> dict[str, Any]:
        predicted, right = self._tags(evaluation)
        if self.spans:
            return {"per_class": span_scores(list(map(entities, predicted)), list(map(entities, right)))}
        matrix = self._confusion_of(predicted, right)
        return {"per_class": per_class(matrix, self.label_names), "confusion": matrix, "labels": self.label_names}

    def _tags(self, evaluation: Evaluator) -> tuple[Tags, Tags]:
        """Return the predicted and the right tags of each text."""
        key, rows = "tags" if self.spans else "prediction", evaluation.predictions
        return [found[key] for found in rows.values()], [evaluation.references[row] for row in rows]

    def _confusion_of(self, predicted: Tags, right: Tags) -> list[list[int]]:
        places = {name: i for i, name in enumerate(self.label_names)}
        matrix = [[0] * len(places) for _ in places]
        for found, true in zip(chain(*predicted), chain(*right), strict=True):
            matrix[places[true]][places[found]] += 1
        return matrix

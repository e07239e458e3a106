"""Relation extraction: the relation between two marked entities of a text."""

from typing import Any, ClassVar

from ftlit.errors import UserError, near
from ftlit.heads import EntityHead, Head
from ftlit.metrics.relations import NEGATIVE_LABELS, relation_scores, relation_table
from ftlit.tasks.shared.evaluator import Evaluator
from ftlit.tasks.shared.labelled import LabelledTask


class RelationExtraction(LabelledTask):
    """Predicts the relation between two entities, which are surrounded by markers in the text (Baldini Soares et al., 2019).

    Args:
        negative_label: The label of entities without a relation, which F1 excludes; by default `Other` or `no_relation` if
            the data have it.
        added_tokens: Taken from the data: ids of the markers, whose embeddings always train.
        head: The prediction head; by default a linear layer on the states of both entities' start markers.
    """

    evidence: ClassVar[str | None] = "relations"
    corpus_metric_names = ("f1_macro", "f1_micro", "precision_micro", "recall_micro", "accuracy")

    def __init__(
        self,
        negative_label: str | None = None,
        added_tokens: list[int] | None = None,
        head: Head = EntityHead(),
        **kwargs: Any,
    ) -> None:
        super().__init__(head=head, **kwargs)
        self.added_tokens = added_tokens or []
        if negative_label is not None and negative_label not in self.label_names:
            known = near(negative_label, self.label_names)
            raise UserError(f"model.negative_label {negative_label!r} is not a relation. {known}")
        found = (name for name in NEGATIVE_LABELS if name in self.label_names)
        self.negative_label = negative_label or next(found, None)

    @property
    def default_monitor(self) -> str:
        return "val/f1_macro"

    def forward(self, batch: dict[str, Any]) -> Any:
        if isinstance(self.head, EntityHead):
            return super().forward(batch)
        return super().forward({key: value for key, value in batch.items() if key != "entity_positions"})

    def corpus_metrics(self, evaluation: Evaluator) -> dict[str, float]:
        return relation_scores(*_relations(evaluation), self.negative_label)

    def evaluation_details(self, evaluation: Evaluator) -> dict[str, Any]:
        table = relation_table(*_relations(evaluation), self.negative_label)
        return {**super().evaluation_details(evaluation), "per_class": table}


def _relations(evaluation: Evaluator) -> tuple[list[str], list[str]]:
    """Return the right and the predicted relation of every row."""
    rows = evaluation.predictions
    return [evaluation.references[i] for i in rows], [found["prediction"] for found in rows.values()]

"""Relation extraction: how two marked entities of a text relate."""

from typing import Any, ClassVar

from ftlit.errors import UserError, near
from ftlit.heads import EntityHead, Head
from ftlit.metrics.relations import relation_scores, relation_table
from ftlit.tasks.shared.classification import Classification

NEGATIVE_LABELS = ("Other", "no_relation")  # of SemEval-2010 Task 8 and of TACRED


class RelationExtraction(Classification):
    """The relation between two entities, which markers in the text surround (Baldini Soares et al., 2019).

    Args:
        negative_label: The relation that says that there is none, left out of the F1; by default `Other` or `no_relation`
            where the data have it.
        added_tokens: Taken from the data: ids of the markers, whose embeddings always train.
        head: What stands on the backbone; by default a linear layer on the states of both entities' start markers.
    """

    evidence: ClassVar[str | None] = "relations"
    summary_names: ClassVar[tuple[str, ...]] = ("f1_macro", "f1_micro", "precision_micro", "recall_micro", "accuracy")

    def __init__(
        self,
        negative_label: str | None = None,
        added_tokens: list[int] | None = None,
        head: Head = EntityHead(),
        **kwargs: Any,
    ) -> None:
        self.added_tokens = added_tokens or []  # before the model is built
        super().__init__(head=head, **kwargs)
        if negative_label is not None and negative_label not in self.label_names:
            raise UserError(f"model.negative_label {negative_label!r} is no relation. {near(negative_label, self.label_names)}")
        found = (name for name in NEGATIVE_LABELS if name in self.label_names)
        self.negative_label = negative_label or next(found, None)

    @property
    def default_monitor(self) -> str:
        return "val/f1_macro"

    def forward(self, batch: dict[str, Any]) -> Any:
        if isinstance(self.head, EntityHead):
            return super().forward(batch)
        return super().forward({key: value for key, value in batch.items() if key != "entity_positions"})

    def _answers(self) -> tuple[list[str], list[str]]:
        """The right and the predicted relation of every row."""
        rows = list(self.predictions)
        return [self.references[i] for i in rows], [self.predictions[i]["prediction"] for i in rows]

    def summarise(self, split: str, values: dict[str, float]) -> dict[str, float]:
        return relation_scores(*self._answers(), self.negative_label)

    def report(self, split: str) -> dict[str, Any]:
        return {**super().report(split), "per_class": relation_table(*self._answers(), self.negative_label)}

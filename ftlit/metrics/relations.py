"""Relation extraction scores: macro F1 of SemEval-2010 Task 8 and micro F1 of TACRED."""

import re
from collections import Counter
from typing import Any

from ftlit.metrics.per_class import scores_of

NEGATIVE_LABELS = ("Other", "no_relation")  # of SemEval-2010 Task 8 and of TACRED
DIRECTION = re.compile(r"\((e1,e2|e2,e1)\)$")


def relation_scores(gold: list[str], predicted: list[str], negative: str | None = None) -> dict[str, float]:
    """Compute scores over all relations except the negative one.

    ``f1_macro`` is the official measure of SemEval-2010 Task 8 (Hendrickx et al., 2010), "(9+1)-way evaluation taking
    directionality into account". ``f1_micro`` and its precision and recall are those of TACRED (Zhang et al., 2017).
    ``accuracy`` includes the negative relation.

    Args:
        gold: The true relations. A direction is given at the end of the name, as in ``Cause-Effect(e1,e2)``.
        predicted: The predicted relations.
        negative: Name of the negative relation, such as ``Other``.
    """
    *_, micro, macro, _ = relation_table(gold, predicted, negative)
    right = sum(a == b for a, b in zip(gold, predicted, strict=True))
    return {
        "f1_macro": macro["f1"],
        "f1_micro": micro["f1"],
        "precision_micro": micro["precision"],
        "recall_micro": micro["recall"],
        "accuracy": right / len(gold),
    }


def relation_table(gold: list[str], predicted: list[str], negative: str | None = None) -> list[dict[str, Any]]:
    """Compute precision, recall, F1 and support of each relation, with both directions together, and their averages.

    A relation predicted in the wrong direction counts as a false positive and a false negative. The macro average is taken
    over the relations that occur among the true ones, as in the official scorer.

    Returns:
        A row for each relation, then the rows ``micro``, ``macro`` and ``weighted``.
    """
    counts = _counts(gold, predicted, negative)
    *rows, micro, _, weighted = scores_of(counts)
    *_, macro, _ = scores_of([count for count in counts if count[1] + count[3]])
    return [*rows, micro, macro, weighted]


def _counts(gold: list[str], predicted: list[str], negative: str | None) -> list[tuple[str, int, int, int]]:
    """Count true positives, false positives and false negatives of each relation."""
    hits = Counter(_undirected(a) for a, b in zip(gold, predicted, strict=True) if a == b)
    true, said = Counter(map(_undirected, gold)), Counter(map(_undirected, predicted))
    names = sorted((true | said).keys() - {negative})
    return [(name, hits[name], said[name] - hits[name], true[name] - hits[name]) for name in names]


def _undirected(relation: str) -> str:
    return DIRECTION.sub("", relation)

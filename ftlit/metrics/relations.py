"""Scores of relations between entities: the macro F1 of SemEval-2010 Task 8 and the micro F1 of TACRED."""

import re
from collections import Counter
from typing import Any

from ftlit.metrics.per_class import scores_of

DIRECTION = re.compile(r"\((e1,e2|e2,e1)\)$")


def relation_scores(gold: list[str], predicted: list[str], negative: str | None = None) -> dict[str, float]:
    """Scores over the relations, without the negative one.

    ``f1_macro`` is the official measure of SemEval-2010 Task 8 (Hendrickx et al., 2010), "(9+1)-way evaluation taking
    directionality into account". ``f1_micro`` and its precision and recall are those of TACRED (Zhang et al., 2017).
    ``accuracy`` counts the negative relation as well.

    Args:
        gold: The right relations; where they have a direction, it ends the name, as in ``Cause-Effect(e1,e2)``.
        predicted: The predicted relations.
        negative: The name that says that there is no relation, such as ``Other``.
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
    """Precision, recall, F1 and support of each relation, both directions together, and their averages.

    The right relation in the wrong direction is wrong: it counts as predicted and as missed. As in the official scorer,
    the macro average is over the relations that the right answers hold.

    Returns:
        A row a relation, then the rows ``micro``, ``macro`` and ``weighted``.
    """
    counts = _counts(gold, predicted, negative)
    *rows, micro, _, weighted = scores_of(counts)
    *_, macro, _ = scores_of([count for count in counts if count[1] + count[3]])
    return [*rows, micro, macro, weighted]


def _counts(gold: list[str], predicted: list[str], negative: str | None) -> list[tuple[str, int, int, int]]:
    """Of each relation, how often it was found rightly, found wrongly, and missed."""
    hits = Counter(_undirected(a) for a, b in zip(gold, predicted, strict=True) if a == b)
    true, said = Counter(map(_undirected, gold)), Counter(map(_undirected, predicted))
    names = sorted((true | said).keys() - {negative})
    return [(name, hits[name], said[name] - hits[name], true[name] - hits[name]) for name in names]


def _undirected(relation: str) -> str:
    return DIRECTION.sub("", relation)

"""``ftlit.compare``: the statistics of studies for the predictions of any tool."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftlit.diff.arms.analysis import analysed
from ftlit.diff.arms.rows import checked_rows
from ftlit.errors import UserError, near
from ftlit.study.plan.settings import CompareSettings
from ftlit.study.statistics.evidence import joint_evidence
from ftlit.util.arguments.types import check_types

if TYPE_CHECKING:
    from pandas import DataFrame

AVERAGED = [f"{score}_{average}" for score in ("precision", "recall", "f1") for average in ("macro", "micro", "weighted")]
METRICS = {
    "labels": ["accuracy", "mcc", *AVERAGED],
    "values": ["mse", "rmse", "mae", "pearson", "spearman"],
}  # by the kind of evidence
FOUND = ("arm", "other", "difference", "low", "high", "p", "p_adjusted", "different", "equivalent", "seeds")


def compare(
    frame: "DataFrame",
    baseline: str | None = None,
    metric: str = "accuracy",
    margin: float | None = None,
    level: float = 0.05,
    pairs: str | Sequence[Sequence[str]] | None = None,
) -> "DataFrame":
    """Compare methods by their predictions, which may be those of any tool, with the statistics of studies.

    With several seeds, the comparisons are about the methods: they hold for new seeds and new examples. Nothing is called
    different with two seeds. With one seed, the comparisons are about the two trained models: McNemar's exact test if
    predictions are right or wrong, else approximate randomisation.

    Args:
        frame: One row for each example, arm and seed, with the columns `arm` (the method), `seed`, `id` (of the example),
            `label` and `prediction`. The optional column `group` names the document, dialogue or user of the example, if
            several examples come from the same one. All arms have the same examples with all seeds.
        baseline: The arm with which the others are compared. By default, all pairs are compared.
        metric: For labels, `accuracy`, `mcc`, or `precision`, `recall` or `f1` followed by `_macro`, `_micro` or `_weighted`.
            For numbers, `mse`, `rmse`, `mae`, `pearson` or `spearman`.
        margin: A difference that does not matter. Arms that differ by less are found equivalent.
        level: Significance level of the tests. The intervals are of 95% for a level of 0.05.
        pairs: `baseline`, `all`, or a list of pairs of arms. By default, those with the baseline if there is one.

    Returns:
        A row for each comparison: `arm`, `other`, `difference` (the metric of `arm` minus that of `other`), the interval from
        `low` to `high`, `p`, `p_adjusted` (Holm's correction for all rows), `different`, `equivalent` (None without a margin),
        and `seeds` (of the arm that has fewer).

    Raises:
        UserError: The frame lacks a column or has missing values, an example comes twice with the same arm and seed, arms have
            other examples or labels, or an argument does not fit.
    """
    from pandas import DataFrame

    if not isinstance(frame, DataFrame):
        raise UserError(f"ftlit.compare expects a data frame of pandas, got {type(frame).__name__}")
    kind = next((kind for kind, names in METRICS.items() if metric in names), None)
    if kind is None:
        known = [name for names in METRICS.values() for name in names]
        raise UserError(f"ftlit.compare has no metric {metric!r}. {near(metric, known)}")
    asked: dict[str, Any] = {
        "metric": metric,
        "baseline": None if baseline is None else str(baseline),
        "pairs": pairs if isinstance(pairs, str | None) else [[str(name) for name in pair] for pair in pairs],
        "margin": margin,
        "level": level,
    }
    check_types(CompareSettings, "compare", asked)
    settings = CompareSettings(**asked)
    rows = checked_rows(frame, numbers=kind == "values")
    if len(rows) < 2:
        raise UserError(f"ftlit.compare needs at least two arms, got only {next(iter(rows))!r}")
    evidence = joint_evidence(kind, metric, rows)
    assert evidence is not None
    comparisons = analysed(evidence, settings).comparisons
    return DataFrame({name: [getattr(one, name) for one in comparisons] for name in FOUND})

"""What examples add to the metrics of question answering and text generation, and to perplexity."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import zip_longest
from typing import Any

import numpy as np

from ftlit.errors import UserError
from ftlit.metrics import ngrams
from ftlit.metrics.evidence.rows import Rows
from ftlit.metrics.evidence.scores import Sums, exp_mean, mean_of
from ftlit.metrics.squad import AnswerRules, default_rules, exact_match, f1
from ftlit.metrics.text import SCORE_NAMES, TEXT_METRICS, Select, pattern_match
from ftlit.util.private import corpus_statistics, score_of_statistics

PARTS = {"_answerable": True, "_unanswerable": False}
ANSWER_METRICS = ("exact_match", "token_f1")  # whose rules fit the script of most references
CORPUS = {"bleu": ngrams.bleu_metric, "chrf": ngrams.chrf_metric}


def question_answering(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Exact match and F1 of SQuAD, over all questions, those with an answer, or those without an answer."""
    part = next((end for end in PARTS if metric.endswith(end)), "")
    score = {"exact_match": exact_match, "f1": f1}.get(metric.removesuffix(part))
    if score is None:
        return None
    rules = settings.get("answer_rules") or default_rules(row["label"] for row in runs[0])
    values = np.array([[score(row["prediction"], row["label"], rules) for row in rows] for rows in runs])
    answerable = np.array([[bool(row["label"]) for row in rows] for rows in runs])
    chosen = answerable == PARTS[part] if part else np.ones_like(answerable)
    return mean_of(values * chosen, chosen)


def is_right(row: Mapping[str, Any]) -> bool:
    """Whether an answer matches one of the right answers exactly, as SQuAD or MLQA normalise them."""
    return exact_match(row["prediction"], row["label"], default_rules([row["label"]])) == 1


def seq2seq(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Metrics of the generated texts."""
    return generated(metric, runs)


def causal_lm(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Metrics of the replies, and perplexity."""
    if metric == "perplexity":
        return perplexity_sums(runs)
    if metric == "pattern_match":
        return _pattern_match(runs, settings.get("pattern"), settings.get("pattern_select") or "first")
    return generated(metric, runs)


def masked_lm(metric: str, runs: Sequence[Rows], settings: Mapping[str, Any]) -> Sums | None:
    """Perplexity."""
    return perplexity_sums(runs) if metric == "perplexity" else None


def perplexity_sums(runs: Sequence[Rows]) -> Sums:
    """Perplexity, from the mean of ``-log p`` over the targets of each example and their number."""
    targets = np.array([[row["targets"] for row in rows] for rows in runs])
    means = np.array([[row.get("nll", row["prediction"]) for row in rows] for rows in runs], dtype=float)
    return Sums(mean_of(means * targets, targets).counts, exp_mean)


def generated(metric: str, runs: Sequence[Rows]) -> Sums | None:
    """BLEU and chrF from sacrebleu's corpus statistics, other metrics as means; None for metrics that need an encoder."""
    if not isinstance(runs[0][0]["prediction"], str):
        return None
    references = [_references(row) for row in runs[0]]
    if metric in CORPUS:
        return _corpus(CORPUS[metric](references), runs, references)
    name = next((name for name in TEXT_METRICS if metric in SCORE_NAMES.get(name, [name])), None)
    if name is None:
        return None
    rules = default_rules(references) if name in ANSWER_METRICS else None
    scores = [
        [_row_scores(name, row["prediction"], tuple(gold), rules) for row, gold in zip(rows, references, strict=True)]
        for rows in runs
    ]
    return mean_of([[row[metric] for row in rows] for rows in scores])


def _references(row: dict[str, Any]) -> list[str]:
    return row["label"] if isinstance(row["label"], list) else [row["label"]]


@cache  # one call computes all ROUGE scores, which are requested one by one
def _row_scores(name: str, text: str, references: tuple[str, ...], rules: AnswerRules | None) -> dict[str, float]:
    options = {"rules": rules} if rules else {}
    return TEXT_METRICS[name]([text], [list(references)], **options)


def _corpus(metric: Any, runs: Sequence[Rows], references: list[list[str]]) -> Sums:
    turned = list(zip_longest(*references))
    counts = [corpus_statistics(metric, [row["prediction"] for row in rows], turned) for rows in runs]
    return Sums(np.array(counts, dtype=float), partial(corpus_score, metric=metric))


def corpus_score(sums: np.ndarray, metric: Any) -> np.ndarray:
    """The score that sacrebleu computes from sums of its statistics."""
    return np.apply_along_axis(partial(score_of_statistics, metric), -1, sums)


def _pattern_match(runs: Sequence[Rows], pattern: str | None, select: Select) -> Sums | None:
    if pattern is None:
        return None
    score: Callable[[str, list[str]], float] = partial(_pattern_hit, pattern=pattern, select=select)
    return mean_of([[score(row["prediction"], _references(row)) for row in rows] for rows in runs])


def _pattern_hit(text: str, references: list[str], pattern: str, select: Select) -> float:
    try:
        return pattern_match([text], [references], pattern, select)["pattern_match"]
    except UserError:  # these references contain no answer, so no prediction is right
        return 0.0

"""Metrics of generated text by name, with one or several references for each prediction."""

import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Literal

from ftlit.errors import UserError, near
from ftlit.metrics.bertscore import bertscore, bertscore_signature
from ftlit.metrics.ngrams import ROUGE_TYPES, bleu, bleu_signature, chrf, chrf_signature, mean, meteor, rouge
from ftlit.metrics.squad import AnswerRules, answer_signature, default_rules, exact_match, f1

Select = Literal["first", "last"]

NUMBER = re.compile(r"[-+$.,\d]+")  # what a number may consist of


def exact_match_rate(predictions: list[str], references: list[list[str]], rules: AnswerRules | None = None) -> dict[str, float]:
    """Compute the fraction of predictions that equal a reference, up to case, punctuation and articles.

    Args:
        predictions: One text per row.
        references: Reference texts of each row.
        rules: The rules by which answers are compared; by default those that fit the script of most references.
    """
    rules = rules or default_rules(references)
    rows = zip(predictions, references, strict=True)
    return {"exact_match": mean([exact_match(text, gold, rules) for text, gold in rows])}


def token_f1(predictions: list[str], references: list[list[str]], rules: AnswerRules | None = None) -> dict[str, float]:
    """Compute mean token F1 with the best reference, by the rules of `exact_match_rate`."""
    rules = rules or default_rules(references)
    return {"token_f1": mean([f1(text, gold, rules) for text, gold in zip(predictions, references, strict=True)])}


def pattern_match(
    predictions: list[str], references: list[list[str]], pattern: str, select: Select = "first"
) -> dict[str, float]:
    """Compute the fraction of predictions whose match of a pattern equals the last match of a reference.

    This is how lm-eval finds final answers: the first match is its `strict-match`, the last one its `flexible-extract`.
    Predictions without a match are wrong. Commas, dollar signs and a final full stop of numbers are ignored.

    Args:
        predictions: Texts with an answer.
        references: Reference texts of each row.
        pattern: Regular expression whose first group that is not empty is the answer, such as ``#### (-?[0-9.,]+)`` for
            GSM8K. Without a group, the whole match is the answer.
        select: Which match of a prediction counts.

    Raises:
        UserError: If the pattern is not a valid regular expression, or matches none of the references.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"the pattern {pattern!r} is not a valid regular expression: {error}") from error
    gold = [{_answer(compiled, text, "last") for text in row} - {None} for row in references]
    if references and not any(gold):
        raise UserError(f"the pattern {pattern!r} matches none of the {len(references)} references")
    hits = [_answer(compiled, text, select) in answers for text, answers in zip(predictions, gold, strict=True)]
    return {"pattern_match": mean([float(hit) for hit in hits])}


def _answer(pattern: re.Pattern[str], text: str, select: Select) -> str | None:
    found = list(pattern.finditer(text))
    if not found:
        return None
    match = found[0 if select == "first" else -1]
    answer = next(filter(None, match.groups()), None) if pattern.groups else match.group()
    if answer is None:
        return None
    answer = answer.strip()
    return answer.replace(",", "").replace("$", "").removesuffix(".") if NUMBER.fullmatch(answer) else answer


Scorer = Callable[..., dict[str, float]]  # of predictions and references
TEXT_METRICS: dict[str, Scorer] = {
    "bleu": bleu,
    "chrf": chrf,
    "rouge": rouge,
    "meteor": meteor,
    "exact_match": exact_match_rate,
    "token_f1": token_f1,
}


SCORE_NAMES = {"rouge": ROUGE_TYPES, "bertscore": ["bertscore_precision", "bertscore_recall", "bertscore_f1"]}


def scorer(name: str) -> Scorer:
    """Return a metric by its name. BERTScore includes the name of its encoder: ``bertscore:<folder or hub name>``.

    Raises:
        UserError: If the name is unknown.
    """
    kind, _, encoder = name.partition(":")
    if kind == "bertscore" and encoder:
        return partial(bertscore, model=encoder)
    if name not in TEXT_METRICS:
        raise UserError(f"unknown text metric {name!r}. {near(name, [*TEXT_METRICS, 'bertscore:<encoder>'])}")
    return TEXT_METRICS[name]


def metric_keys(names: list[str]) -> tuple[str, ...]:
    """Return the names of the scores that the given metrics compute."""
    return tuple(key for name in names for key in SCORE_NAMES.get(name.partition(":")[0], [name]))


def check_names(names: list[str]) -> None:
    """Check names of metrics.

    Raises:
        UserError: If a name is unknown.
    """
    for name in names:
        scorer(name)


def text_scores(names: list[str], predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Compute the scores of the given metrics.

    Raises:
        UserError: If a name is unknown.
    """
    chosen = [scorer(name) for name in names]
    return {key: value for score in chosen for key, value in score(predictions, references).items()}


def signatures(names: list[str], references: list[list[str]] | None = None) -> dict[str, str]:
    """Return the signatures of metrics, with which others can reproduce a score.

    Args:
        names: Names of metrics.
        references: The references. Their number and script are part of sacrebleu's signatures, and omitted without them.
    """
    check_names(names)
    rules = answer_signature(default_rules(references or []))
    rouge_parts = "case:lower|stemmer:porter|sentences:lines or punkt|cjk:characters|refs:best"
    available: dict[str, Callable[[], str]] = {
        "bleu": lambda: bleu_signature(references),
        "chrf": lambda: chrf_signature(references),
        "rouge": lambda: f"{rouge_parts}|rouge_score:{version('rouge_score')}",
        "meteor": lambda: f"alpha:0.9|beta:3|gamma:0.5|match:exact+porter|refs:best|nltk:{version('nltk')}",
        "exact_match": lambda: rules,
        "token_f1": lambda: rules,
    }
    available |= {name: partial(bertscore_signature, name.partition(":")[2]) for name in names if ":" in name}
    return {name: available[name]() for name in names}


def pattern_signature(pattern: str, select: Select) -> str:
    """Return the signature of `pattern_match`."""
    return f"pattern:{pattern}|prediction:{select} match|reference:last match|numbers:without , $ and final ."

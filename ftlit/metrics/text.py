"""Metrics of generated text by name, with one or several references for each prediction."""

import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from ftlit.errors import UserError, near
from ftlit.metrics.bertscore import bertscore
from ftlit.metrics.ngrams import ROUGE_TYPES, bleu, bleu_signature, chrf, chrf_signature, mean, meteor, rouge
from ftlit.metrics.squad import exact_match, f1

NUMBER = re.compile(r"[-+]?[\d.,]*\d[\d.,]*")


def exact_match_rate(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Compute the fraction of predictions that equal a reference up to case, punctuation and articles, as in SQuAD."""
    return {"exact_match": mean([exact_match(text, gold) for text, gold in zip(predictions, references, strict=True)])}


def token_f1(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Compute mean token F1 with the best reference, as in SQuAD."""
    return {"token_f1": mean([f1(text, gold) for text, gold in zip(predictions, references, strict=True)])}


def pattern_match(predictions: list[str], references: list[list[str]], pattern: str) -> dict[str, float]:
    """Compute the fraction of predictions whose last match of a pattern equals that of a reference.

    Predictions without a match are wrong. Commas and final full stops of numbers are ignored.

    Args:
        predictions: Texts that end in an answer.
        references: Reference texts of each row.
        pattern: Regular expression whose first group is the answer, such as ``#### (-?[0-9.,]+)`` for GSM8K. Without a group,
            the whole match is the answer.

    Raises:
        UserError: If the pattern is not a valid regular expression, or matches none of the references.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"the pattern {pattern!r} is not a valid regular expression: {error}") from error
    gold = [{_last_match(compiled, text) for text in row} - {None} for row in references]
    if references and not any(gold):
        raise UserError(f"the pattern {pattern!r} matches none of the {len(references)} references")
    hits = [_last_match(compiled, text) in answers for text, answers in zip(predictions, gold, strict=True)]
    return {"pattern_match": mean([float(hit) for hit in hits])}


def _last_match(pattern: re.Pattern[str], text: str) -> str | None:
    found = [match.group(min(pattern.groups, 1)) for match in pattern.finditer(text)]
    if not found or found[-1] is None:
        return None
    answer = found[-1].strip()
    return answer.replace(",", "").rstrip(".") if NUMBER.fullmatch(answer) else answer


Scorer = Callable[[list[str], list[list[str]]], dict[str, float]]
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
    squad = "case:lower|punctuation:no|articles:no|cjk:characters"
    available: dict[str, Callable[[], str]] = {
        "bleu": lambda: bleu_signature(references),
        "chrf": lambda: chrf_signature(references),
        "rouge": lambda: f"case:lower|stemmer:no|cjk:characters|refs:best|rouge_score:{version('rouge_score')}",
        "meteor": lambda: f"alpha:0.9|beta:3|gamma:0.5|match:exact+porter|refs:best|nltk:{version('nltk')}",
        "exact_match": lambda: squad,
        "token_f1": lambda: squad,
    }
    available |= {name: partial(str.format, "layer:-1|idf:no|rescaled:no|refs:best|{}", name) for name in names if ":" in name}
    return {name: available[name]() for name in names}

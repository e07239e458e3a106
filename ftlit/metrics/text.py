"""Metrics of generated text by name: predictions against one or several references a row."""

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
    """Share of predictions that equal a reference up to case, punctuation and articles, as in SQuAD."""
    return {"exact_match": mean([exact_match(text, gold) for text, gold in zip(predictions, references, strict=True)])}


def token_f1(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Mean overlap in tokens with the best reference, as in SQuAD."""
    return {"token_f1": mean([f1(text, gold) for text, gold in zip(predictions, references, strict=True)])}


def pattern_match(predictions: list[str], references: list[list[str]], pattern: str) -> dict[str, float]:
    """Share of predictions whose last match of a pattern equals that of a reference; without a match they are wrong.

    Args:
        predictions: Texts that end in an answer.
        references: The true texts of each row.
        pattern: Regular expression whose first group is the answer, such as ``#### (-?[0-9.,]+)`` for GSM8K; the whole
            match where it has no group. Commas and final full stops of numbers do not count.

    Raises:
        UserError: The pattern is no regular expression, or finds nothing in any reference.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"the pattern {pattern!r} is not a regular expression: {error}") from error
    gold = [{_last_match(compiled, text) for text in row} - {None} for row in references]
    if references and not any(gold):
        raise UserError(f"the pattern {pattern!r} finds nothing in any of the {len(references)} references")
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


KEYS = {"rouge": ROUGE_TYPES, "bertscore": ["bertscore_precision", "bertscore_recall", "bertscore_f1"]}


def scorer(name: str) -> Scorer:
    """A metric by its name; BERTScore's names its encoder: ``bertscore:<folder or hub name>``.

    Raises:
        UserError: The name is unknown.
    """
    kind, _, encoder = name.partition(":")
    if kind == "bertscore" and encoder:
        return partial(bertscore, model=encoder)
    if name not in TEXT_METRICS:
        raise UserError(f"there is no text metric {name!r}. {near(name, [*TEXT_METRICS, 'bertscore:<encoder>'])}")
    return TEXT_METRICS[name]


def metric_keys(names: list[str]) -> tuple[str, ...]:
    """What the named metrics give their scores as."""
    return tuple(key for name in names for key in KEYS.get(name.partition(":")[0], [name]))


def check_names(names: list[str]) -> None:
    """Refuse names of metrics that there are not.

    Raises:
        UserError: A name is unknown.
    """
    for name in names:
        scorer(name)


def text_scores(names: list[str], predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """The scores of the named metrics.

    Raises:
        UserError: A name is unknown.
    """
    chosen = [scorer(name) for name in names]
    return {key: value for score in chosen for key, value in score(predictions, references).items()}


def signatures(names: list[str], references: list[list[str]] | None = None) -> dict[str, str]:
    """How the named metrics count, for a reader who wants to repeat a score.

    Args:
        names: Names of metrics.
        references: The references scored. Their number and script are part of sacrebleu's signatures, which leave both
            out without them.
    """
    check_names(names)
    normal = "case:lower|punctuation:no|articles:no|cjk:characters"
    made: dict[str, Callable[[], str]] = {
        "bleu": lambda: bleu_signature(references),
        "chrf": lambda: chrf_signature(references),
        "rouge": lambda: f"case:lower|stemmer:no|cjk:characters|refs:best|rouge_score:{version('rouge_score')}",
        "meteor": lambda: f"alpha:0.9|beta:3|gamma:0.5|match:exact+porter|refs:best|nltk:{version('nltk')}",
        "exact_match": lambda: normal,
        "token_f1": lambda: normal,
    }
    made |= {name: partial(str.format, "layer:-1|idf:no|rescaled:no|refs:best|{}", name) for name in names if ":" in name}
    return {name: made[name]() for name in names}

"""BLEU, chrF, ROUGE and METEOR of generated texts, with one or several references for each."""

import re
from itertools import zip_longest
from typing import Any

from ftlit.errors import UserError
from ftlit.metrics.language import CJK, HAS_CJK, HAS_KANA, mostly, sentences

ROUGE_TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
# Latin words as split by rouge_score, single Chinese and Japanese characters, and words of all other scripts.
ROUGE_TOKENS = re.compile(f"[a-z0-9]+|[{CJK}]|[^\\W\u0000-\u024f\u1e00-\u1eff{CJK}]+")
METEOR_TOKENS = re.compile(f"[{CJK}]|[^\\W{CJK}]+|[^\\w\\s]")


def check_rows(predictions: list[str], references: list[list[str]]) -> None:
    """Check that every prediction has a reference.

    Raises:
        UserError: If a row has no reference, or the numbers of rows differ.
    """
    if len(predictions) != len(references):
        raise UserError(f"got {len(predictions)} predictions, but references for {len(references)}")
    for i, row in enumerate(references):
        if not row:
            raise UserError(f"row {i} has no reference; each prediction needs at least one")


def mean(values: list[float]) -> float:
    """Return the mean, or 0 for an empty list."""
    return sum(values) / (len(values) or 1)


def bleu_metric(references: list[list[str]]) -> Any:
    """Return the BLEU metric of sacrebleu, with the tokenizer that fits the script of the references."""
    from sacrebleu.metrics import BLEU

    # 13a treats a Chinese sentence as one word, and zh treats a sequence of kana as one word.
    if mostly(HAS_KANA, references):
        return BLEU(tokenize="char")
    return BLEU(tokenize="zh" if mostly(HAS_CJK, references) else "13a")


def chrf_metric(references: list[list[str]]) -> Any:
    """Return the chrF metric of sacrebleu."""
    from sacrebleu.metrics import CHRF

    return CHRF()


def _corpus_score(metric: Any, predictions: list[str], references: list[list[str]]) -> float:
    check_rows(predictions, references)
    if not predictions:
        return 0.0
    # sacrebleu expects a list of all first references, one of all second references, and so on, with None for missing ones.
    return float(metric.corpus_score(predictions, list(zip_longest(*references))).score)


def bleu(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Compute corpus BLEU with sacrebleu (Post, 2018), from 0 to 100.

    If most references contain kana, every character is a token (`tok:char`), because sacrebleu's Japanese tokenizer needs a
    dictionary. If most contain Chinese characters, each of them is a token (`tok:zh`). Otherwise, tokens are words (`tok:13a`).
    """
    return {"bleu": _corpus_score(bleu_metric(references), predictions, references)}


def chrf(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Compute corpus chrF2 with sacrebleu (Popović, 2015), from 0 to 100."""
    return {"chrf": _corpus_score(chrf_metric(references), predictions, references)}


class _RougeTokenizer:
    """Tokenizes Latin script like rouge_score, and other scripts, which rouge_score ignores, by words or characters."""

    def __init__(self, stemmer: bool) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = PorterStemmer().stem if stemmer else None

    def tokenize(self, text: str) -> list[str]:
        tokens = ROUGE_TOKENS.findall(text.lower())
        return [self.stem(token) if len(token) > 3 else token for token in tokens] if self.stem else tokens


def rouge(predictions: list[str], references: list[list[str]], stemmer: bool = True) -> dict[str, float]:
    """Compute mean ROUGE-1, -2, -L and -Lsum F1 (Lin, 2004), from 0 to 1, using the best reference in each row.

    ROUGE-Lsum compares texts sentence by sentence, see `sentences`.

    Args:
        predictions: One text per row.
        references: Reference texts of each row.
        stemmer: Whether to stem English words (Porter), as most published scores do.
    """
    from rouge_score.rouge_scorer import RougeScorer

    check_rows(predictions, references)
    scorer = RougeScorer(ROUGE_TYPES, tokenizer=_RougeTokenizer(stemmer))
    rows = [
        scorer.score_multi([_on_lines(other) for other in gold], _on_lines(text))
        for text, gold in zip(predictions, references, strict=True)
    ]
    return {name: float(mean([row[name].fmeasure for row in rows])) for name in ROUGE_TYPES}


def _on_lines(text: str) -> str:
    """Put each sentence on a line of its own, as rouge_score expects it; its other scores ignore this."""
    return "\n".join(sentences(text))


class _NoSynonyms:
    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Compute mean METEOR (Banerjee and Lavie, 2005) with nltk, from 0 to 1, using the best reference in each row.

    Words match if they or their Porter stems are equal. Synonyms are not matched, because WordNet would have to be downloaded,
    so scores are slightly lower than with it.
    """
    from nltk.translate.meteor_score import meteor_score

    check_rows(predictions, references)
    rows = [
        meteor_score([METEOR_TOKENS.findall(g) for g in gold], METEOR_TOKENS.findall(text), wordnet=_NoSynonyms())
        for text, gold in zip(predictions, references, strict=True)
    ]
    return {"meteor": mean(rows)}


def bleu_signature(references: list[list[str]] | None = None) -> str:
    """Return sacrebleu's signature of BLEU for these references."""
    return _signature(bleu_metric(references or []), references)


def chrf_signature(references: list[list[str]] | None = None) -> str:
    """Return sacrebleu's signature of chrF for these references."""
    return _signature(chrf_metric(references or []), references)


def _signature(metric: Any, references: list[list[str]] | None) -> str:
    counts = {len(row) for row in references or []}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    signature = metric.get_signature()
    if not references:
        signature.update("nrefs", None)
        signature.update("tok", None)
    return str(signature)

"""BLEU, chrF, ROUGE and METEOR: the overlap of generated texts with one or several references in n-grams and words."""

import re
from itertools import zip_longest
from typing import Any

from ftlit.errors import UserError
from ftlit.metrics.squad import CJK, HAS_CJK

ROUGE_TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
# Latin words as rouge_score splits them, single Chinese and Japanese characters, words of all other scripts.
ROUGE_TOKENS = re.compile(f"[a-z0-9]+|[{CJK}]|[^\\W\u0000-\u024f\u1e00-\u1eff{CJK}]+")
KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9d]")
METEOR_TOKENS = re.compile(f"[{CJK}]|[^\\W{CJK}]+|[^\\w\\s]")


def check_rows(predictions: list[str], references: list[list[str]]) -> None:
    """Refuse rows without a reference.

    Raises:
        UserError: A row has none, or there are more predictions than rows of references, or fewer.
    """
    if len(predictions) != len(references):
        raise UserError(f"there are {len(predictions)} predictions, but references for {len(references)}")
    for i, row in enumerate(references):
        if not row:
            raise UserError(f"row {i} has no reference; each prediction needs at least one")


def mean(values: list[float]) -> float:
    """The mean, or 0 of nothing."""
    return sum(values) / (len(values) or 1)


def _mostly(letter: re.Pattern[str], references: list[list[str]]) -> bool:
    """Whether most references have such a letter."""
    texts = [text for row in references for text in row]
    return sum(bool(letter.search(text)) for text in texts) * 2 > len(texts)


def bleu_metric(references: list[list[str]]) -> Any:
    from sacrebleu.metrics import BLEU

    # 13a takes a Chinese sentence for a single word, and zh does so with a run of kana.
    if _mostly(KANA, references):
        return BLEU(tokenize="char")
    return BLEU(tokenize="zh" if _mostly(HAS_CJK, references) else "13a")


def chrf_metric(references: list[list[str]]) -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


def _corpus_score(metric: Any, predictions: list[str], references: list[list[str]]) -> float:
    check_rows(predictions, references)
    if not predictions:
        return 0.0
    # sacrebleu takes a list for all first references, one for all second ones, with None where a row has fewer.
    return float(metric.corpus_score(predictions, list(zip_longest(*references))).score)


def bleu(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """BLEU of the corpus by sacrebleu (Post 2018), 0 to 100, over words; the signature says how these are told.

    Where most references have kana, every character is a word (`tok:char`), as sacrebleu's own words of Japanese need a
    dictionary. Where most have Chinese characters, each of these is a word, and other scripts keep theirs (`tok:zh`).
    """
    return {"bleu": _corpus_score(bleu_metric(references), predictions, references)}


def chrf(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """chrF2 of the corpus by sacrebleu (Popović 2015), 0 to 100."""
    return {"chrf": _corpus_score(chrf_metric(references), predictions, references)}


class _RougeTokenizer:
    """The words of rouge_score for Latin script, and words or characters where that would find none."""

    def __init__(self, stemmer: bool) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = PorterStemmer().stem if stemmer else None

    def tokenize(self, text: str) -> list[str]:
        tokens = ROUGE_TOKENS.findall(text.lower())
        return [self.stem(token) if len(token) > 3 else token for token in tokens] if self.stem else tokens


def rouge(predictions: list[str], references: list[list[str]], stemmer: bool = False) -> dict[str, float]:
    """ROUGE-1, -2, -L and -Lsum F (Lin 2004), 0 to 1: the mean over rows of each one's best over the references.

    Args:
        predictions: A text a row; its sentences are on lines of their own for ROUGE-Lsum.
        references: The true texts of each row.
        stemmer: Whether endings of English words are cut (Porter), as some published scores do.
    """
    from rouge_score.rouge_scorer import RougeScorer

    check_rows(predictions, references)
    scorer = RougeScorer(ROUGE_TYPES, tokenizer=_RougeTokenizer(stemmer))
    rows = [scorer.score_multi(gold, text) for text, gold in zip(predictions, references, strict=True)]
    return {name: float(mean([row[name].fmeasure for row in rows])) for name in ROUGE_TYPES}


class _NoSynonyms:
    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """METEOR (Banerjee and Lavie 2005) by nltk, 0 to 1: the mean over rows of the best over the references.

    Words match where they or their Porter stems are equal. Synonyms are off, because WordNet is a download of its own, so
    scores are a little lower than with it.
    """
    from nltk.translate.meteor_score import meteor_score

    check_rows(predictions, references)
    rows = [
        meteor_score([METEOR_TOKENS.findall(g) for g in gold], METEOR_TOKENS.findall(text), wordnet=_NoSynonyms())
        for text, gold in zip(predictions, references, strict=True)
    ]
    return {"meteor": mean(rows)}


def bleu_signature(references: list[list[str]] | None = None) -> str:
    """How sacrebleu counts BLEU over these references."""
    return _signature(bleu_metric(references or []), references)


def chrf_signature(references: list[list[str]] | None = None) -> str:
    """How sacrebleu counts chrF over these references."""
    return _signature(chrf_metric(references or []), references)


def _signature(metric: Any, references: list[list[str]] | None) -> str:
    counts = {len(row) for row in references or []}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    signature = metric.get_signature()
    if not references:
        signature.update("nrefs", None)
        signature.update("tok", None)
    return str(signature)

"""Pairs of a metric of this package and its reference, over cases drawn from a seed."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn import metrics as sk

from ftlit.metrics import ngrams, relations, spans, squad
from ftlit.metrics.bertscore import Embedded, match
from ftlit.metrics.exact import regression
from ftlit.metrics.per_class import per_class
from ftlit.metrics.text import pattern_match
from ftlit.tasks import TextClassification
from tests.support.references import cases, rules

Scores = dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """A metric of this package and its reference.

    Args:
        metric: What is compared.
        reference: The library, or the published rule.
        scores: Returns the scores of both for the case of a seed.
    """

    metric: str
    reference: str
    scores: Callable[[int], tuple[Scores, Scores]]


def largest_difference(comparison: Comparison, seeds: Sequence[int]) -> float:
    """The largest difference over cases: absolute below 1, relative above; infinite if only one of both is defined."""
    found = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of references, about undefined scores
        for seed in seeds:
            own, theirs = comparison.scores(seed)
            assert own.keys() == theirs.keys()
            found = max([found, *(difference(own[name], theirs[name]) for name in own)])
    return found


def difference(one: float, other: float) -> float:
    """How far two scores are apart; undefined scores are equal to each other only."""
    if math.isnan(one) or math.isnan(other):
        return 0.0 if math.isnan(one) and math.isnan(other) else math.inf
    return abs(one - other) / max(1.0, abs(other))


def _averages(truth: np.ndarray, guess: np.ndarray) -> Scores:
    found: Scores = {}
    for average in ("macro", "micro", "weighted"):
        values = sk.precision_recall_fscore_support(truth, guess, average=average, zero_division=0)
        found |= {f"{name}_{average}": float(value) for name, value in zip(("precision", "recall", "f1"), values, strict=False)}
    return found


def _auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """The mean over the labels for which scikit-learn defines it."""
    defined = [i for i in range(truth.shape[1]) if 0 < truth[:, i].sum() < len(truth)]
    return float(np.mean([sk.roc_auc_score(truth[:, i], scores[:, i]) for i in defined])) if defined else math.nan


def _classified(several: bool, scores: np.ndarray, truth: np.ndarray) -> Scores:
    """The metrics of TextClassification, and the averages of its table."""
    names = [str(i) for i in range(scores.shape[1])]
    task: Any = SimpleNamespace(label_names=names, multi_label=several)
    metrics = TextClassification.build_metrics(task)
    kind = TextClassification if several else super(TextClassification, TextClassification)
    matrix = (TextClassification.build_confusion if several else kind.build_confusion)(task)
    for state in (metrics, matrix):
        state.update(torch.tensor(scores), torch.tensor(truth))
    rows = {row["label"]: row for row in per_class(matrix.compute().tolist(), names)}
    table = {f"table {name}_{average}": rows[average][name] for average in ("macro", "micro", "weighted") for name in ("f1",)}
    return {name: float(value) for name, value in metrics.compute().items()} | table


def _expected(truth: np.ndarray, guess: np.ndarray, hot: np.ndarray, scores: np.ndarray) -> Scores:
    averages = _averages(truth, guess)
    table = {f"table {name}": value for name, value in averages.items() if name.startswith("f1")}
    mcc = sk.matthews_corrcoef(truth.ravel(), guess.ravel())
    return averages | table | {"accuracy": sk.accuracy_score(truth, guess), "mcc": mcc, "auroc": _auroc(hot, scores)}


def one_label(seed: int) -> tuple[Scores, Scores]:
    truth, guess, scores = cases.labels(seed)
    return _classified(False, scores, truth), _expected(truth, guess, np.eye(scores.shape[1])[truth], scores)


def several_labels(seed: int) -> tuple[Scores, Scores]:
    truth, scores = cases.several_labels(seed)
    return _classified(True, scores, truth), _expected(truth, (scores > 0.5).astype(int), truth, scores)


def numbers(seed: int) -> tuple[Scores, Scores]:
    truth, guess = cases.numbers(seed)
    own: dict[str, Any] = {
        "mse": regression.MeanError(2),
        "rmse": regression.MeanError(2, root=True),
        "mae": regression.MeanError(1),
        "pearson": regression.Pearson(),
        "spearman": regression.Spearman(),
    }
    for metric in own.values():
        for some in np.array_split(np.arange(len(truth)), 2):
            metric.update(torch.tensor(guess[some]), torch.tensor(truth[some]))
    theirs = {
        "mse": sk.mean_squared_error(truth, guess),
        "rmse": sk.root_mean_squared_error(truth, guess),
        "mae": sk.mean_absolute_error(truth, guess),
        "pearson": float(stats.pearsonr(truth, guess).statistic),
        "spearman": float(stats.spearmanr(truth, guess).statistic),
    }
    return {name: float(metric.compute()) for name, metric in own.items()}, theirs


def _own_entities(gold: list[list[str]], said: list[list[str]]) -> dict[str, Any]:
    *_, micro, macro, weighted = spans.span_scores([spans.entities(row) for row in said], [spans.entities(row) for row in gold])
    return {"micro": micro, "macro": macro, "weighted": weighted}


def entities_seqeval(seed: int) -> tuple[Scores, Scores]:
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    gold, said = cases.tagged(seed)
    own, theirs = _own_entities(gold, said), {}
    for average in own:
        values = precision_recall_fscore_support(gold, said, average=average, zero_division=0)
        known = (
            0.0 if math.isnan(value) else float(value) for value in values[:3]
        )  # seqeval's mean over no type at all is NaN
        theirs |= {f"{name} {average}": value for name, value in zip(("precision", "recall", "f1"), known, strict=True)}
    return {f"{name} {average}": own[average][name] for average in own for name in ("precision", "recall", "f1")}, theirs


def entities_conlleval(seed: int) -> tuple[Scores, Scores]:
    gold, said = cases.tagged(seed)
    micro = _own_entities(gold, said)["micro"]
    return {name: micro[name] for name in ("precision", "recall", "f1")}, rules.conlleval(gold, said)


def relations_semeval(seed: int) -> tuple[Scores, Scores]:
    gold, said = cases.relations(seed)
    own = relations.relation_scores(gold, said, "Other")
    return {"f1_macro": own["f1_macro"]}, {"f1_macro": rules.semeval_f1(gold, said, "Other")}


def relations_tacred(seed: int) -> tuple[Scores, Scores]:
    gold, said = cases.relations(seed)
    named = sorted({*gold, *said} - {"Other"})
    own = relations.relation_scores(gold, said, "Other")
    values = (
        sk.precision_recall_fscore_support(gold, said, labels=named, average="micro", zero_division=0) if named else (0,) * 3
    )
    keys = ("precision_micro", "recall_micro", "f1_micro")
    return {key: own[key] for key in keys}, {key: float(value) for key, value in zip(keys, values, strict=False)}


def _answers(said: list[str], gold: list[list[str]], which: squad.AnswerRules, rule: Callable[..., tuple[float, float]]) -> Any:
    own = squad.squad_scores(said, gold, which)
    rows = [rule(text, row) for text, row in zip(said, gold, strict=True)]
    means = {name: float(np.mean([row[i] for row in rows])) for i, name in enumerate(("exact_match", "f1"))}
    return {name: own[name] for name in means}, means


def answers_squad(seed: int) -> tuple[Scores, Scores]:
    said, gold = cases.answers(seed)
    return _answers(said, gold, squad.default_rules(gold), rules.squad)


def answers_cmrc(seed: int) -> tuple[Scores, Scores]:
    return _answers(*cases.chinese_answers(seed), "cmrc", rules.cmrc)


def final_answers(flexible: bool) -> Callable[[int], tuple[Scores, Scores]]:
    def scores(seed: int) -> tuple[Scores, Scores]:
        replies, solutions = cases.worked_answers(seed)
        hits = [rules.lm_eval_gsm8k(*pair, flexible) for pair in zip(replies, solutions, strict=True)]
        gold, pattern = [[text] for text in solutions], rules.FLEXIBLE if flexible else rules.STRICT
        own = pattern_match(replies, gold, pattern, "last" if flexible else "first")
        return own, {"pattern_match": float(np.mean(hits))}

    return scores


def corpus_score(made: Callable[[int], cases.Rows], **options: Any) -> Callable[[int], tuple[Scores, Scores]]:
    from sacrebleu.metrics import BLEU, CHRF

    def scores(seed: int) -> tuple[Scores, Scores]:
        said, gold = made(seed)
        columns = [[row[i] if i < len(row) else None for row in gold] for i in range(max(map(len, gold)))]
        theirs = {"bleu": BLEU(**options).corpus_score(said, columns).score, "chrf": CHRF().corpus_score(said, columns).score}
        return ngrams.bleu(said, gold) | ngrams.chrf(said, gold), theirs

    return scores


def rouge(seed: int) -> tuple[Scores, Scores]:
    from rouge_score.rouge_scorer import RougeScorer

    said, gold = cases.summaries(seed)
    scorer = RougeScorer(ngrams.ROUGE_TYPES, use_stemmer=True)
    rows = [scorer.score_multi(["\n".join(one) for one in row], "\n".join(text)) for text, row in zip(said, gold, strict=True)]
    joint = " " if seed % 2 else "\n"
    own = ngrams.rouge([joint.join(text) for text in said], [[joint.join(one) for one in row] for row in gold])
    return own, {name: float(np.mean([row[name].fmeasure for row in rows])) for name in ngrams.ROUGE_TYPES}


def meteor(seed: int) -> tuple[Scores, Scores]:
    from nltk.translate.meteor_score import meteor_score

    said, gold = cases.texts(seed)
    plain = [*(text for text in said), *(text for row in gold for text in row)]
    kept = {text: " ".join(ngrams.METEOR_TOKENS.findall(text)) for text in plain}
    nothing = SimpleNamespace(synsets=lambda word: [])
    rows = [
        meteor_score([kept[one].split() for one in row], kept[text].split(), wordnet=nothing)
        for text, row in zip(said, gold, strict=True)
    ]
    return ngrams.meteor(said, gold), {"meteor": float(np.mean(rows))}


def bertscore(seed: int) -> tuple[Scores, Scores]:
    """The greedy matching of bert_score on random vectors, the first and the last of each text special."""
    from bert_score.utils import greedy_cos_idf

    rng = np.random.default_rng(seed)
    counts = (2, 2) if seed % 10 == 0 else (2, 5) if seed % 10 == 1 else rng.integers(3, 12, size=2)
    found = [torch.tensor(rng.normal(size=(int(count), 8)) + rng.uniform(0.5, 2), dtype=torch.float32) for count in counts]
    weights = [torch.tensor([0.0, *[1.0] * (len(vectors) - 2), 0.0]) for vectors in found]
    own = match(*(Embedded(torch.nn.functional.normalize(v, dim=-1), w > 0) for v, w in zip(found, weights, strict=True)))
    (said, gold), (one, other) = (v.clone()[None] for v in found), (w.clone()[None] for w in weights)
    masks = [torch.ones(1, len(vectors), dtype=torch.long) for vectors in found]
    theirs = greedy_cos_idf(gold, masks[1], other, said, masks[0], one)
    names = ("precision", "recall", "f1")
    return dict(zip(names, own, strict=True)), {name: float(value) for name, value in zip(names, theirs, strict=True)}


COMPARISONS = [
    Comparison("classification, one label: accuracy, P, R, F1, MCC, AUROC, table", "scikit-learn", one_label),
    Comparison("classification, several labels: accuracy, P, R, F1, MCC, AUROC, table", "scikit-learn", several_labels),
    Comparison("regression: MSE, RMSE, MAE, Pearson, Spearman", "scikit-learn, SciPy", numbers),
    Comparison("entities: P, R, F1, micro, macro and weighted", "seqeval", entities_seqeval),
    Comparison("entities: P, R, F1", "conlleval's rules", entities_conlleval),
    Comparison("relations: macro F1", "SemEval-2010 Task 8's rules", relations_semeval),
    Comparison("relations: micro P, R, F1", "TACRED's rule by scikit-learn", relations_tacred),
    Comparison("answers: exact match, F1", "SQuAD's rules", answers_squad),
    Comparison("answers, `cmrc`: exact match, F1", "CMRC 2018's rules", answers_cmrc),
    Comparison("final answers, first match", "lm-eval's strict-match", final_answers(False)),
    Comparison("final answers, last match", "lm-eval's flexible-extract", final_answers(True)),
    Comparison("BLEU, chrF", "sacrebleu (13a)", corpus_score(cases.texts)),
    Comparison("BLEU, chrF of Chinese", "sacrebleu (zh)", corpus_score(cases.chinese_texts, tokenize="zh")),
    Comparison("ROUGE-1, -2, -L, -Lsum", "rouge_score with stemmer, a sentence a line", rouge),
    Comparison("METEOR without synonyms", "nltk", meteor),
    Comparison("BERTScore P, R, F1", "bert_score", bertscore),
]

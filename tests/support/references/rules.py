"""Published rules, written down naively: conlleval, SemEval-2010 Task 8, SQuAD, CMRC 2018, and the answers of lm-eval."""

import re
import string
from collections.abc import Sequence

from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer

Tags = Sequence[str]


# conlleval (CoNLL-2000): a chunk begins and ends where neighbouring tags say so


def _begins(before: str, tag: str) -> bool:
    (_, last), (prefix, kind) = _parts(before), _parts(tag)
    return prefix == "B" or (prefix == "I" and (before == "O" or last != kind))


def _ends(tag: str, after: str) -> bool:
    (_, kind), (prefix, following) = _parts(tag), _parts(after)
    return tag != "O" and (after == "O" or prefix == "B" or following != kind)


def _parts(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def conlleval(gold: Sequence[Tags], predicted: Sequence[Tags]) -> dict[str, float]:
    """Precision, recall and F1 of chunks, counted token by token as the Perl script does."""
    right = said = true = 0
    for row, other in zip(gold, predicted, strict=True):
        one, two = ["O", *row, "O"], ["O", *other, "O"]
        both_open = False
        for i in range(1, len(one) - 1):
            begins = _begins(one[i - 1], one[i]), _begins(two[i - 1], two[i])
            true, said = true + begins[0], said + begins[1]
            if any(begins):
                both_open = all(begins) and _parts(one[i])[1] == _parts(two[i])[1]
            ends = _ends(one[i], one[i + 1]), _ends(two[i], two[i + 1])
            if any(ends):
                right += both_open and all(ends)
                both_open = False
    precision, recall = right / said if said else 0.0, right / true if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


# SemEval-2010 Task 8: (9+1)-way evaluation taking directionality into account


def semeval_f1(gold: list[str], predicted: list[str], other: str) -> float:
    """Mean F1 of the relations that occur, both directions as one, a wrong direction as wrong."""
    scores = []
    for relation in sorted({name.split("(")[0] for name in gold} - {other}):
        right = sum(a == b and a.split("(")[0] == relation for a, b in zip(gold, predicted, strict=True))
        true = sum(name.split("(")[0] == relation for name in gold)
        said = sum(name.split("(")[0] == relation for name in predicted)
        precision, recall = right / said if said else 0.0, right / true
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return sum(scores) / len(scores) if scores else 0.0


# SQuAD 1.1 and 2.0


def squad_normal(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space, in this order."""
    text = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad(prediction: str, answers: list[str]) -> tuple[float, float]:
    """Exact match and F1 of a question; without an answer that is left, only an empty prediction is right."""
    gold = [answer for answer in answers if squad_normal(answer)] or [""]
    exact = max(float(squad_normal(prediction) == squad_normal(answer)) for answer in gold)
    return exact, max(_bag_f1(squad_normal(prediction).split(), squad_normal(answer).split()) for answer in gold)


def _bag_f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    rest, same = list(gold), 0
    for token in predicted:
        if token in rest:
            rest.remove(token)
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(predicted), same / len(gold)
    return 2 * precision * recall / (precision + recall)


# CMRC 2018

CMRC_PUNCTUATION = list("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")


def cmrc(prediction: str, answers: list[str]) -> tuple[float, float]:
    """Exact match without the listed punctuation, and F1 of the longest common substring of segments."""
    plain = ["".join(c for c in text.lower().strip() if c not in CMRC_PUNCTUATION) for text in (prediction, *answers)]
    return float(plain[0] in plain[1:]), max(_substring_f1(_segments(plain[0]), _segments(gold)) for gold in plain[1:])


def _segments(text: str) -> list[str]:
    found, latin = [], ""
    for char in text:
        if re.match("[\u4e00-\u9fa5]", char):
            found += [*_latin(latin), char]
            latin = ""
        else:
            latin += char
    return [*found, *_latin(latin)]


def _latin(text: str) -> list[str]:
    """What nltk's `word_tokenize` does, without the trained tables of abbreviations, which would have to be downloaded."""
    return [word for sentence in PunktSentenceTokenizer().tokenize(text) for word in NLTKWordTokenizer().tokenize(sentence)]


def _substring_f1(predicted: list[str], gold: list[str]) -> float:
    longest = 0
    for i in range(len(predicted)):
        for j in range(len(gold)):
            length = 0
            while i + length < len(predicted) and j + length < len(gold) and predicted[i + length] == gold[j + length]:
                length += 1
            longest = max(longest, length)
    if not longest:
        return 0.0
    precision, recall = longest / len(predicted), longest / len(gold)
    return 2 * precision * recall / (precision + recall)


# lm-eval: `strict-match` and `flexible-extract` of GSM8K

STRICT, FLEXIBLE = r"#### (\-?[0-9\.\,]+)", r"(-?[$0-9.,]{2,})|(-?[0-9]+)"


def lm_eval_gsm8k(reply: str, solution: str, flexible: bool) -> float:
    """Whether the extracted number of a reply is that of a worked solution, up to what the task ignores."""
    found: list = re.findall(FLEXIBLE if flexible else STRICT, reply)
    chosen = found[-1 if flexible else 0] if found else "[invalid]"
    if isinstance(chosen, tuple):
        chosen = next(group for group in chosen if group)
    return float(_ignoring(chosen.strip()) == _ignoring(solution))


def _ignoring(text: str) -> str:
    for pattern in (",", r"\$", "(?s).*#### ", r"\.$"):
        text = re.sub(pattern, "", text)
    return text.lower()

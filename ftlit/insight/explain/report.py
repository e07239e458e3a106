"""What the explanations of a run say: on the terminal, as JSON, as Markdown, and as a page with shaded words."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tabulate import tabulate

from ftlit.insight.explain.checks import FEWEST_WORDS, MODELS, SHARES, Checks, Faithfulness, Mean
from ftlit.insight.explain.examples import Example
from ftlit.insight.explain.explanation import Explanation
from ftlit.insight.explain.words import Word
from ftlit.util.render.document import Document, Part, Section, Shade, Shaded, Table, Text
from ftlit.util.render.formats import NONE, interval, listed, number, plural, share

NAME = "explain"
LINES = "explanations.jsonl"
FILES = {
    f"{NAME}.html": "the page",
    f"{NAME}.md": "the page as Markdown",
    f"{NAME}.json": "the numbers of the checks",
    LINES: "all explanations",
}
SHOWN_WORDS = 30_000  # on a page, so that it stays below five megabytes
SHOWN_TEXTS, FIRST_TEXTS = 200, 20  # on a page; in Markdown, and not folded
LEAST_COMPLETE = 0.95  # share of outputs whose attributions should add up
RELATED = 0.2  # rank correlation with random weights from which pictures say little about the trained ones
METHOD_TEXTS = {
    "integrated_gradients": "integrated gradients on the embeddings (Sundararajan et al., 2017)",
    "gradient_x_input": "gradient × embedding (Shrikumar et al., 2016)",
    "occlusion": "occlusion of words (Zeiler and Fergus, 2014)",
    "shapley": "Shapley values of words, from random orders (Štrumbelj and Kononenko, 2010)",
}


@dataclass(frozen=True)
class Summary:
    """What was explained, and what the checks found.

    Args:
        run: Name of the run.
        task: Name of its task.
        method: Name of the method.
        source: The rows: a file, or a split.
        output: What is attributed, such as the logit of the label.
        stand_in: The token that stands in for removed words.
        rows: Number of rows.
        outputs: Number of explained outputs.
        empty: Number of rows without any.
        truncated: Number of outputs of rows that were too long for the model.
        complete: Share of outputs whose attributions add up to the difference of the outputs, to 1% of it.
        steps: Median number of steps of integrated gradients, or None.
        checks: The checks, or None.
    """

    run: str
    task: str
    method: str
    source: str
    output: str
    stand_in: str
    rows: int
    outputs: int
    empty: int
    truncated: int
    complete: float
    steps: int | None
    checks: Checks | None

    def numbers(self) -> dict[str, Any]:
        """Return the content of explain.json, with null for what is not known."""
        return _without_nan(asdict(self))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(summary: Summary) -> Table:
    """Return the checks as a table."""
    rows = [("adds up to the difference of the outputs, to 1% of it", share(summary.complete), NONE, NONE, NONE)]
    if checks := summary.checks:
        rows += [
            _faithful("fall of the score without the words of highest attribution", checks.comprehensiveness),
            _faithful("fall of the score with these words alone", checks.sufficiency),
            ("rank correlation with the attributions of random weights", *_mean(checks.randomised)),
        ]
    notes = [
        f"The falls are means over {listed(share(part) for part in SHARES)} of the words (comprehensiveness and sufficiency, "
        "DeYoung et al., 2020); the first should be larger than with words in random order, the second smaller. The rank "
        f"correlation (Adebayo et al., 2018) should be near zero. Intervals are over rows, the last over {MODELS} models.",
    ]
    columns = ("", "attribution", "random order", "difference", "95% interval")
    return Table("Can the picture be believed?", columns, rows, (0,), notes if summary.checks else ())


def _faithful(name: str, found: Faithfulness) -> tuple[str, str, str, str, str]:
    ends = interval(found.difference.low, found.difference.high, 3, sign=True)
    return name, number(found.attributed, 3), number(found.random, 3), number(found.difference.mean, 3, sign=True), ends


def _mean(found: Mean) -> tuple[str, str, str, str]:
    return number(found.mean, 3), NONE, NONE, interval(found.low, found.high, 3, sign=True)


def warnings(summary: Summary) -> list[str]:
    """Return sentences that say when the picture means nothing, or less than it seems to."""
    found = []
    if summary.method in ("integrated_gradients", "shapley") and summary.complete < LEAST_COMPLETE:
        found.append(
            f"Only {share(summary.complete)} of the attributions add up to the difference of the outputs: the others miss part "
            "of what the model does, or what words add is close to nothing."
        )
    if not (checks := summary.checks):
        return found
    if not checks.comprehensiveness.difference.low > 0:
        found.append(
            "It was not shown that the words of highest attribution matter more to the model than words in random order: do "
            "not read reasons into this picture."
        )
    if not checks.sufficiency.difference.high < 0:
        found.append("It was not shown that the words of highest attribution suffice better than words in random order.")
    if not checks.randomised.count:
        found.append(f"No text has {FEWEST_WORDS} words or more, so that random weights could not be compared.")
    if checks.randomised.low > RELATED:
        found.append(
            "The same model with random weights ranks the words in a similar way: the picture shows the texts more than what "
            "was learned."
        )
    return found


def text(summary: Summary) -> str:
    """Return the table and the warnings for the terminal."""
    found = table(summary)
    align = ["left", "right", "right", "right", "right"]
    grid = tabulate(found.rows, headers=found.columns, tablefmt="simple", colalign=align, disable_numparse=True)
    return "\n\n".join([grid, *(f"Note: {warning}" for warning in warnings(summary))])


def document(summary: Summary, shown: Sequence[Explanation]) -> Document:
    """Return the report.

    Args:
        summary: What was explained.
        shown: The explanations for the page, of which those are shown that fit.
    """
    fitting = list(_fitting(shown))
    pictures = [_picture(one) for one in fitting]
    parts: list[Part] = [Text(_legend(summary, len(fitting))), *pictures[:FIRST_TEXTS]]
    more = pictures[FIRST_TEXTS:]
    sections = [
        Section("Checks", [*(Text(sentence, warning=True) for sentence in warnings(summary)), table(summary)]),
        Section("Words", parts),
        *([Section("More words", more, essential=False)] if more else []),
        Section("How to read it", [Text(sentence) for sentence in _method(summary)]),
    ]
    lead = f"{summary.task}, {plural(summary.outputs, 'output')} of {plural(summary.rows, 'row')} of {summary.source}"
    return Document(f"Explanations of {summary.run}", lead, sections, files=FILES)


def _fitting(shown: Sequence[Explanation]) -> Iterator[Explanation]:
    """Explanations until the page is full."""
    words = 0
    for one in shown[:SHOWN_TEXTS]:
        words += len(one.attributions)
        if words > SHOWN_WORDS:
            return
        yield one


def _legend(summary: Summary, shown: int) -> str:
    some = f"The first {shown:,} of {summary.outputs:,} explanations; {LINES} has all. " if shown < summary.outputs else ""
    return (
        f"{some}Blue words raise {summary.output}, orange and underlined ones lower it. Colours are relative to the "
        "strongest word of each text, so those of different texts cannot be compared."
    )


def _method(summary: Summary) -> list[str]:
    found = [
        f"What a word adds to {summary.output} is computed by {METHOD_TEXTS[summary.method]}. Removed words are replaced by "
        f"{summary.stand_in}; special tokens and what else is not a text of the row stay."
    ]
    if summary.steps is not None:
        found.append(f"Median number of steps: {summary.steps}.")
    if summary.empty:
        found.append(f"{plural(summary.empty, 'row')} had no predicted output to explain.")
    if summary.truncated:
        found.append(f"{plural(summary.truncated, 'explanation')} are of texts that were cut.")
    return found


def _picture(one: Explanation) -> Shaded:
    caption = " · ".join([f"{one.id}", *_named(one.example), f"{one.score:.3g}"])
    note = (
        f"{number(one.output, 3)} with all words, {number(one.base, 3)} without; the attributions add up to "
        f"{number(one.difference + one.delta, 3, sign=True)}, the difference is {number(one.difference, 3, sign=True)}"
    )
    return Shaded(caption, list(_pieces(one)), note)


def _named(example: Example) -> list[str]:
    """What is explained, with its place."""
    if "token" in example.details:
        return [f"token {example.details['position'] + 1}", repr(example.target)]
    return [str(example.details["text"]), example.target] if "text" in example.details else [example.target]


def _pieces(one: Explanation) -> Iterator[Shade]:
    """The words with their shades, and what lies between them."""
    words = one.example.words.words
    most = max(map(abs, one.attributions), default=0.0)
    several = len({word.column for word in words}) > 1
    before: Word | None = None
    for word, value in zip(words, one.attributions, strict=True):
        new = before is None or before.column != word.column
        if several and new:
            yield Shade(f"{'' if before is None else ' '}{word.column}: ")
        elif before is not None and before.end < word.start:
            yield Shade(" ")
        level = value / most if most else 0.0
        yield Shade(word.text, 0.0 if abs(level) < 0.005 else level, number(value, 3, sign=True))
        before = word

"""Evidence of arms: what each example adds to a metric, in each run of each arm."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ftlit.study.statistics.compare import Evidence
from ftlit.study.statistics.evidence import labels, numbers, texts, words
from ftlit.study.statistics.evidence.rows import Rows, aligned
from ftlit.study.statistics.evidence.scores import Sums

Counter = Callable[[str, Sequence[Rows], Mapping[str, Any]], Sums | None]

TASKS: dict[str, Counter] = {
    "TextClassification": labels.text_classification,
    "TextRegression": numbers.text_regression,
    "TokenClassification": words.token_classification,
    "RelationExtraction": labels.relation_extraction,
    "QuestionAnswering": texts.question_answering,
    "MultipleChoice": labels.multiple_choice,
    "Seq2Seq": texts.seq2seq,
    "CausalLM": texts.causal_lm,
    "MaskedLM": texts.masked_lm,
}


def joint_evidence(
    task: str, metric: str, arms: Mapping[str, Mapping[int, Rows]], settings: Mapping[str, Any] | None = None
) -> dict[str, Evidence] | None:
    """The evidence of several arms over the same examples, whose sums mean the same in each.

    The columns of a macro average are the classes that any arm predicts. So arms that are to be compared are counted
    together: answers of one may then take the place of another's.

    Args:
        task: Name of the task's class.
        metric: Name of the metric, as in results.json.
        arms: For each arm the predictions by seed.
        settings: The task's ``init_args``: `negative_label` and `pattern` decide what their metrics count.

    Returns:
        None where the metric does not follow from sums over predictions, as the loss and AUROC, or the task is another.

    Raises:
        UserError: Two runs were evaluated on other examples.
    """
    named = {f"{arm} (seed {seed})": rows for arm, runs in arms.items() for seed, rows in runs.items()}
    if task not in TASKS or not named:
        return None
    sums = TASKS[task](metric, list(aligned(named).values()), settings or {})
    if sums is None:
        return None
    found, first = {}, 0
    for arm, runs in arms.items():
        counts = sums.counts[first : first + len(runs)]
        found[arm] = Evidence(counts, sums.score, tuple(runs))
        first += len(runs)
    return found


def evidence(
    task: str, metric: str, runs: Sequence[Rows], seeds: Sequence[int], settings: Mapping[str, Any] | None = None
) -> Evidence | None:
    """The evidence of one arm: see `joint_evidence`, which counts arms that are to be compared together.

    Args:
        task: Name of the task's class.
        metric: Name of the metric, as in results.json.
        runs: The predictions of each seed.
        seeds: The seeds.
        settings: The task's ``init_args``.
    """
    found = joint_evidence(task, metric, {"the run": dict(zip(seeds, runs, strict=True))}, settings)
    return found["the run"] if found else None

"""Compare every metric with its reference on cases in which metrics tend to go wrong, and write experiments/results/metrics.md.

Usage: python -m experiments.metrics.table
"""

from importlib.metadata import version
from pathlib import Path

from tabulate import tabulate

from tests.support.references import COMPARISONS, largest_difference

CASES, TOLERANCE = 200, 1e-6
RESULT = Path(__file__).parents[1] / "results/metrics.md"
LIBRARIES = ("scikit-learn", "scipy", "seqeval", "sacrebleu", "rouge_score", "nltk", "bert-score", "torchmetrics")


def main() -> None:
    """Write the table, and fail if a difference is too large."""
    found = [(one, largest_difference(one, range(CASES))) for one in COMPARISONS]
    rows = [[one.metric, one.reference, CASES, f"{far:.1e}" if far else "0"] for one, far in found]
    table = tabulate(rows, headers=["metric", "reference", "cases", "largest difference"], tablefmt="github")
    used = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    RESULT.write_text(
        "# Metrics next to their references\n\n"
        "Each row is a metric of ftlit next to another library, or next to a published rule that tests write down once more.\n"
        f"The {CASES} cases are drawn to be difficult: constant predictions, labels that never occur, one example, ties,\n"
        "numbers far from 0, entities without a beginning, empty texts. A difference is absolute below 1 and relative above;\n"
        "a score that only one of both leaves undefined would count as infinite.\n\n"
        f"{table}\n\n{used}. Made by `python -m experiments.metrics.table`; the tests run some of the cases.\n",
        "utf-8",
    )
    if wrong := [one.metric for one, far in found if far > TOLERANCE]:
        raise SystemExit(f"more than {TOLERANCE} from the reference: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()

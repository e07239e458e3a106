"""Which rows of an earlier run are replayed."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ftlit.errors import UserError
from ftlit.runs.files import predictions_file
from ftlit.runs.reading import RunFolder

Way = Literal["random", "hard", "balanced"]


def evenly(classes: Sequence[Hashable], count: int, seed: int) -> list[int]:
    """Positions of `count` random rows, as many of each class as far as there are enough, in order.

    Args:
        classes: The class of each row.
        count: Number of rows, at most that of all.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for i, name in enumerate(classes):
        members[name].append(i)
    # The n-th row of every class comes before the next row of any, in an order of classes that is drawn, too.
    drawn = [rng.permutation(members[name]).tolist() for name in sorted(members, key=str)]
    ties = rng.permutation(len(drawn)).tolist()
    ranked = sorted((rank, tie, i) for tie, rows in zip(ties, drawn, strict=True) for rank, i in enumerate(rows))
    return sorted(i for _, _, i in ranked[:count])


def hardest(run: str, ids: Sequence[str]) -> list[int]:
    """Positions of rows, those first in whose right answer a run has least confidence.

    Args:
        run: Folder of the run.
        ids: Ids of its rows of train.

    Raises:
        UserError: There are no predictions of train, or these tell no confidence.
    """
    path = predictions_file(Path(run).expanduser(), "train")
    if not path.is_file():
        raise UserError(
            f"data.replay.by is hard, but {run!r} has no predictions of train; `ftlit update` with --by hard writes them"
        )
    doubts = {row["id"]: _doubt(row, path) for row in RunFolder(Path(run).expanduser()).prediction_rows("train")}
    if odd := [row_id for row_id in ids if row_id not in doubts]:
        raise UserError(f"{path} has no prediction of {odd[0]!r}; remove the file, and let `ftlit update` write it again")
    return sorted(range(len(ids)), key=lambda i: (-doubts[ids[i]], i))


def _doubt(row: dict[str, Any], path: Path) -> float:
    """One minus the probability of the right label, or of each label's right mark on average."""
    scores, label = row.get("scores"), row.get("label")
    if not scores:
        raise UserError(f"data.replay.by is hard, but {path} has no scores of labels; use random")
    if isinstance(label, list):
        return sum(1 - score if name in label else score for name, score in scores.items()) / len(scores)
    return 1 - scores[label]

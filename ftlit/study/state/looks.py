"""The looks of a study with sequential seeds: a function of the plan and of the runs that have finished.

What a look says follows from its runs, so nothing has to be kept, and a study that is killed and continued takes the same
course. `looks.json` in the folder only saves the time of computing it again.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ftlit.study.plan.cells import Plan
from ftlit.study.plan.seeds import FEWEST
from ftlit.study.statistics.course import Course, Found
from ftlit.study.statistics.multiplicity import Pair
from ftlit.study.statistics.sequential import Looks
from ftlit.util.files import read_json, write_json

if TYPE_CHECKING:
    from ftlit.study.state.progress import Progress

LOOKS = "looks.json"


def begun(plan: Plan) -> Course:
    """The course of a study before its first look."""
    from ftlit.study.report.content.blocks import plan_families

    compare = plan.study.compare
    return Course(Looks(plan.study.looks), plan_families(plan), compare.level, compare.correction)


def look_at(progress: "Progress", course: Course) -> dict[Pair, Found]:
    """What the current look of a course says about each pair.

    Args:
        progress: The progress of the study with the seeds of this look, all of whose cells have ended.
        course: The course.
    """
    level = float(course.looks.levels(course.level)[course.look])
    names = {cell.name for arm in progress.arms for cell in arm.repetitions if progress.states[cell.name] == "done"}
    asked = [sorted(names), course.families, level, str(progress.plan.study.compare)]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    path = progress.folder.path / LOOKS
    known: dict[str, Any] = read_json(path)
    if key not in known:
        known[key] = _compared(progress, level)
        with suppress(OSError):  # such as a folder that only its owner may write
            write_json(path, known)
    return {(one, other): Found(p, same) for one, other, p, same in known[key]}


def _compared(progress: "Progress", level: float) -> list[tuple[str, str, float | None, bool]]:
    """The pairs with their p-values, and whether they are the same within the margin."""
    from ftlit.study.report.content.numbers import analysed

    found: Mapping[Pair, Any] = {(one.arm, one.other): one for one in reversed(analysed(progress, level).comparisons)}
    return [(*pair, one.p if one.seeds >= FEWEST else None, bool(one.equivalent)) for pair, one in found.items()]

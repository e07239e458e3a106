"""The looks of a study with sequential seeds: a function of the plan and of the runs that have finished.

What a look says follows from its runs, so nothing has to be kept, and a study that is killed and continued takes the same
course. `looks.json` in the folder only saves the time of computing it again.
"""

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ftlit.study.plan.cells import Plan
from ftlit.study.plan.seeds import FEWEST
from ftlit.study.sequential.course import Course, Found
from ftlit.study.sequential.levels import Looks
from ftlit.study.statistics.multiplicity import Pair
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
    level = course.level_of_look
    names = {cell.name for arm in progress.arms for cell in arm.repetitions if progress.states[cell.name] == "done"}
    asked = [sorted(names), course.families, level, str(progress.plan.study.compare), str(progress.plan.study.select)]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    path = progress.folder.path / LOOKS
    known: dict[str, Any] = read_json(path)
    if key not in known:
        known[key] = _compared(progress, level)
        with suppress(OSError):  # such as a folder that only its owner may write
            write_json(path, known)
    return {(one, other): Found(*says) for one, other, *says in known[key]}


def _compared(progress: "Progress", level: float) -> list[tuple[Any, ...]]:
    """The pairs with what a look says about them, as in `Found`."""
    from ftlit.study.report.content.numbers import analysed

    margin, found = progress.plan.study.compare.margin, dict[Pair, tuple[Any, ...]]()
    for one in analysed(progress, level).comparisons:
        room = None if margin is None or not one.error > 0 else (margin - abs(one.difference)) / one.error
        says = (one.p if one.seeds >= FEWEST else None, bool(one.equivalent), room)
        found.setdefault((one.arm, one.other), says)  # what the first family says, if it names the pair
    return [(*pair, *says) for pair, says in found.items()]

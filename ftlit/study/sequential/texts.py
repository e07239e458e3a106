"""What a report says about sequential seeds: verdicts that hold at any time, the looks, and how each pair was decided."""

from dataclasses import replace

from ftlit.study.plan.settings import Study
from ftlit.study.sequential.course import LITTLE_POWER, Course
from ftlit.study.statistics.compare import Analysis, Comparison
from ftlit.util.render.document import Table
from ftlit.util.render.formats import listed, p_text, plural


def at_any_time(analysis: Analysis, course: Course) -> Analysis:
    """Replace the verdicts of an analysis, which hold for a fixed number of seeds, by those of the looks."""
    adjusted = {"primary": course.adjusted(0), "secondary": course.adjusted(-1)}

    def held(one: Comparison) -> Comparison:
        pair = (one.arm, one.other)
        p = adjusted[one.family].get(pair, 1.0)
        equivalent = None if one.equivalent is None else pair in course.same
        return replace(one, p=course.p.get(pair, 1.0), p_adjusted=p, different=p <= course.level, equivalent=equivalent)

    return replace(analysis, comparisons=[held(one) for one in analysis.comparisons])


def seed_count(study: Study) -> str:
    """The number of seeds of an arm."""
    return f"{study.looks[0]} to {study.looks[-1]} seeds" if study.looks else plural(len(study.seeds), "seed")


def seeds_text(study: Study) -> str:
    """The seeds of an arm, and which keys they set."""
    keys = f"which set {listed(study.seed_keys)}"
    if study.looks:
        return f"{seed_count(study)}, {keys}, more of them where verdicts are open"
    return f"{seed_count(study)} ({', '.join(map(str, study.seeds))}), {keys}"


def looks_text(course: Course) -> str:
    """How seeds are added, and why this does not raise the number of false positives."""
    return (
        "Seeds are added until the verdicts that the study is about are reached. Results are looked at with the numbers of "
        "seeds in the table of looks, and an arm goes on while any of its comparisons is open. So that false positives are as "
        "rare as with a single look, whenever the study stops, each look spends a part of the level "
        f"{course.level:g} in proportion to the seeds added (Lan and DeMets 1983), and p-values are the smallest levels at "
        "which a look so far would have been significant. Test examples that all seeds share make looks more alike than was "
        "assumed, which only makes the tests stricter. A comparison that would be decided with a probability below "
        f"{LITTLE_POWER:.0%} even with the largest number of seeds is given up, which claims nothing. Intervals have the level "
        "of the look at which their arms stopped, so that they are wide enough for a study that stops when it has seen enough "
        "(Jennison and Turnbull 1989)."
    )


def looks_table(course: Course) -> Table:
    """The looks, their levels, and how many comparisons each has decided."""
    closed = list(course.closed.items())
    rows = []
    for seeds, level in zip(course.looks.seeds, course.looks.levels(course.level), strict=True):
        here = [course.status[pair] for pair, place in closed if place == seeds]
        counts = [here.count("different"), here.count("same"), here.count("given up")]
        taken = seeds < course.looks.seeds[course.look] or (course.ended and seeds == course.looks.seeds[course.look])
        rows.append([str(seeds), p_text(float(level)), *([str(count) for count in counts] if taken else ["", "", ""])])
    notes = [
        "Level: the p-value of the ordinary test at which a single comparison is significant, and the level of the intervals "
        "of arms that stop at this look. Blank: looks that were not taken."
    ]
    return Table("Looks at the results", ["seeds", "level", "different", "same", "given up"], rows, notes=notes)

"""Seeds that are added where verdicts are open: the error at any look, which arms go on, and the same end after a kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal

from ftlit.errors import UserError
from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.plan.file import read_study
from ftlit.study.plan.seeds import SequentialSeeds
from ftlit.study.preview import preview
from ftlit.study.report.content.assemble import assemble_report
from ftlit.study.report.content.numbers import gather
from ftlit.study.report.render.table import results_csv
from ftlit.study.running.runner import Runner
from ftlit.study.running.worker import DONE, Job
from ftlit.study.sequential.course import Course, Found
from ftlit.study.sequential.levels import Looks, critical_values
from ftlit.study.sequential.looks import LOOKS
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress
from ftlit.study.statistics.compare import analyse
from ftlit.study.status import status_text
from ftlit.util.render.markdown import markdown
from tests.support.study.synthetic import STUDY, made, write_cell

# Boundaries


@pytest.mark.parametrize(("looks", "pocock", "obrien"), [
    (2, 2.178, 1.977), (3, 2.289, 2.004), (4, 2.361, 2.024), (5, 2.413, 2.040),
])  # fmt: skip
def test_classical_designs(looks: int, pocock: float, obrien: float) -> None:
    """What the designs of Pocock (1977) and of O'Brien and Fleming (1979) spend leads back to their constants.

    The constants are those of Jennison and Turnbull (2000), tables 2.1 and 2.3.
    """
    places = np.arange(1, looks + 1.0)
    for values in (np.full(looks, pocock), obrien * np.sqrt(looks / places)):
        error = [beyond(places[: i + 1], values[: i + 1]) for i in range(looks)]
        assert error[-1] == pytest.approx(0.05, abs=2e-4)
        assert critical_values(places, np.array([error]))[0] == pytest.approx(values, abs=2e-3)


def beyond(information: np.ndarray, values: np.ndarray) -> float:
    """The probability that a statistic is beyond its critical value at any look, by SciPy's multivariate normal."""
    correlation = np.sqrt(np.minimum.outer(information, information) / np.maximum.outer(information, information))
    return 1 - float(multivariate_normal(cov=correlation, seed=0).cdf(values, lower_limit=-values))


def test_published_boundaries_of_spending() -> None:
    """The boundaries of five equally spaced looks by the program of Reboussin, DeMets, Kim and Lan (2000)."""
    share = np.linspace(0.2, 1, 5)
    like_pocock = 0.05 * np.log1p((np.e - 1) * share)
    like_obrien = 4 * ndtr(ndtri(0.05 / 4) / np.sqrt(share))
    found = critical_values(share, np.stack([like_pocock, like_obrien]))
    assert found[0] == pytest.approx([2.4380, 2.4268, 2.4101, 2.3966, 2.3859], abs=1e-4)
    assert found[1] == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)


def test_the_levels_of_looks() -> None:
    assert Looks((5,)).levels(0.05) == pytest.approx([0.05], rel=1e-3)
    looks = Looks((3, 4, 6, 8, 11, 16, 22, 30))
    for level in (0.05, 0.05 / 13, 0.05 / 91):
        found = looks.levels(level)
        assert found[0] == pytest.approx(level / 10, rel=1e-3)  # the first look spends its share of the seeds
        assert found.max() < level < found.sum()  # a look alone may not spend all; independent looks could spend no more
        assert [looks.p_value(i, p) for i, p in enumerate(found)] == pytest.approx([level] * 8, rel=1e-3)
    assert looks.p_value(0, 0.9) == 1
    assert looks.p_value(0, 0.0) < 1e-12


def test_predictive_power() -> None:
    """The same probability by simulation: the true difference is drawn from what the look says."""
    looks, rng = Looks((3, 5, 10)), np.random.default_rng(0)
    true = 1.5 / np.sqrt(5) + rng.normal(size=200_000) / np.sqrt(5)
    last = (1.5 * np.sqrt(5) + 5 * true + np.sqrt(5) * rng.normal(size=200_000)) / np.sqrt(10)
    share = (last > -ndtri(looks.levels(0.05)[-1] / 2)).mean()
    assert looks.predictive_power(1, 1.5, 0.05) == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_error_at_any_look(shared: float) -> None:
    """The smallest p-value of all looks is a valid one, also if the examples that all seeds share bring variance."""
    looks, rng = Looks((3, 4, 6, 8, 11)), np.random.default_rng(1)
    runs = rng.normal(size=(4000, 11)) + np.sqrt(shared) * rng.normal(size=(4000, 1))
    best = np.ones(4000)
    for i, count in enumerate(looks.seeds):
        p = 2 * ndtr(-abs(runs[:, :count].mean(axis=1)) / np.sqrt(1 / count + shared))
        best = np.minimum(best, [looks.p_value(i, one) for one in p])
    share = (best <= 0.05).mean()
    assert share < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 4000)
    assert share > (0.04 if not shared else 0.02)  # not by being blunt


# The course


def course(*pairs: tuple[str, str], seeds: tuple[int, ...] = (3, 5, 8)) -> Course:
    return Course(Looks(seeds), [list(pairs)], 0.05, "holm")


def test_arms_stop_one_by_one() -> None:
    found = course(("a", "full"), ("b", "full"), ("c", "full"))
    assert found.seeds == {"a": 3, "b": 3, "c": 3, "full": 3}
    found.enter({("a", "full"): Found(1e-9), ("b", "full"): Found(0.05), ("c", "full"): Found(0.99)})
    assert found.status == {("a", "full"): "different", ("b", "full"): "open", ("c", "full"): "given up"}
    assert found.seeds == {"a": 3, "b": 5, "c": 3, "full": 5}
    found.enter({("a", "full"): Found(0.3), ("b", "full"): Found(1e-9), ("c", "full"): Found(0.99)})
    assert found.ended  # what was found once stays
    assert found.status == {("a", "full"): "different", ("b", "full"): "different", ("c", "full"): "given up"}
    assert found.closed == {("a", "full"): 3, ("b", "full"): 5, ("c", "full"): 3}
    assert found.seeds == {"a": 3, "b": 5, "c": 3, "full": 5}
    assert found.adjusted(0)["a", "full"] < 1e-6


def test_the_same_within_a_margin_is_an_end() -> None:
    found = course(("a", "full"))
    found.enter({("a", "full"): Found(0.2, same=True)})
    assert found.ended
    assert found.status == {("a", "full"): "same"}


def test_nothing_to_compare_needs_no_look() -> None:
    found = course()
    assert found.ended
    assert found.seeds == {}


def test_what_may_turn_out_the_same_is_not_given_up() -> None:
    for room, status in ((None, "given up"), (-3.0, "given up"), (1.5, "open")):
        found = course(("a", "full"))
        found.enter({("a", "full"): Found(0.99, room=room)})
        assert found.status == {("a", "full"): status}


def test_the_level_of_a_look_for_a_family() -> None:
    """At each step of Holm's method, the level is at most that of a design of its own."""
    found = course(*((f"arm {i}", "full") for i in range(10)))
    for look in range(3):
        found.look = look
        for left in range(1, 11):
            assert found.level_of_look / left <= found.looks.levels(0.05 / left)[look] * 1.0001


def test_too_few_runs_say_nothing_and_no_run_is_the_end() -> None:
    found = course(("a", "full"), ("b", "full"))
    found.enter({("a", "full"): Found(None)})
    assert found.status == {("a", "full"): "open", ("b", "full"): "given up"}
    assert found.p == {}


def test_a_look_without_new_seeds_is_no_second_chance() -> None:
    found = Course(Looks((3, 5, 8)), [[("a", "full")], [("a", "full"), ("b", "c")]], 0.05, "holm")
    found.enter({("a", "full"): Found(0.04), ("b", "c"): Found(0.04)})
    before = dict(found.p)
    found.enter({("a", "full"): Found(0.02), ("b", "c"): Found(0.001)})
    assert found.p["b", "c"] == before["b", "c"]
    assert found.p["a", "full"] < before["a", "full"]


# Studies


SEEDS = {"at_least": 3, "at_most": 8}


@pytest.mark.parametrize(("seeds", "looks"), [
    ((3, 30), (3, 4, 6, 8, 11, 16, 22, 30)), ((3, 3), (3,)), ((3, 4), (3, 4)), ((5, 12), (5, 7, 9, 12)),
])  # fmt: skip
def test_numbers_of_seeds(seeds: tuple[int, int], looks: tuple[int, ...]) -> None:
    assert SequentialSeeds(*seeds).looks == looks


@pytest.mark.parametrize(("seeds", "message"), [
    ({"at_least": 5, "at_most": 3}, "seeds.at_most should not be below seeds.at_least, got 3 and 5"),
    ({"at_least": 2, "at_most": 9}, "seeds.at_least should be 3 or more, since fewer seeds allow no verdict; got 2"),
    ({"at_least": 3}, "seeds needs the key 'at_most'"),
    ({"at_least": 3, "at_most": 9, "at_mots": 9}, "seeds has the key 'at_mots'. Did you mean 'at_most'?"),
    ({"at_least": 3, "at_most": "nine"}, "seeds.at_most should be an integer, got 'nine'"),
])  # fmt: skip
def test_refused_seeds(tmp_path: Path, seeds: dict[str, Any], message: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "seeds": seeds}))
    with pytest.raises(UserError) as caught:
        read_study(file)
    assert str(caught.value) == message


class Immediate:
    """An executor whose jobs leave made-up results at once."""

    def __init__(self, plan: Plan, folder: Folder, stop_after: int | None = None) -> None:
        self.plan, self.folder, self.left = plan, folder, stop_after
        self.running, self.free, self.order = list[str](), 2, list[str]()

    def submit(self, job: Job) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        write_cell(self.plan, self.folder, job.cell, 100)
        self.running.append(job.cell.name)
        self.order.append(job.cell.title)

    def wait(self, seconds: float) -> dict[str, int]:
        ended, self.running[:] = list(self.running), []
        return dict.fromkeys(ended, DONE)

    def close(self) -> None:
        pass


def started(folder: Path, **keys: Any) -> tuple[Plan, Folder]:
    return made(folder, finish=False, **{"seeds": SEEDS, "select": None, **keys})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Folder, list[str]]:
    """A study that has run to its end."""
    plan, folder = started(tmp_path_factory.mktemp("whole"))
    executor = Immediate(plan, folder)
    Runner(plan, folder, executor, str).run()
    return plan, folder, executor.order


def test_arms_whose_verdict_is_open_go_on(whole: tuple[Plan, Folder, list[str]]) -> None:
    plan, folder, order = whole
    progress = Progress(plan, folder)
    assert progress.course is not None
    assert progress.course.ended
    counts = {arm.arm.name: len(arm.repetitions) for arm in progress.arms}
    assert counts["Frozen"] == 3  # far worse than the baseline
    assert counts["Full"] == max(counts.values()) > 3
    assert progress.counts == {"done": sum(counts.values())}
    assert len(order) == len(set(order)) == sum(counts.values())
    assert not progress.unfinished


def test_a_study_that_is_killed_takes_the_same_course(whole: tuple[Plan, Folder, list[str]], tmp_path: Path) -> None:
    plan, folder = started(tmp_path)
    for _ in range(50):
        executor = Immediate(plan, folder, stop_after=8)
        try:
            Runner(plan, Folder(folder.path), executor, str).run()
            break
        except KeyboardInterrupt:
            (folder.path / LOOKS).unlink(missing_ok=True)  # saves time only
    assert results_csv(gather(plan, folder)) == results_csv(gather(*whole[:2]))


def test_results_do_not_depend_on_the_order_of_cells(whole: tuple[Plan, Folder, list[str]], tmp_path: Path) -> None:
    plan, folder = started(tmp_path)
    while left := Progress(plan, folder).in_state("pending"):
        write_cell(plan, folder, left[-1], 100)
    assert results_csv(gather(plan, folder)) == results_csv(gather(*whole[:2]))


def run_until(plan: Plan, folder: Folder, enough: Callable[[Cell], bool]) -> None:
    while left := [cell for cell in Progress(plan, folder).in_state("pending") if enough(cell)]:
        for cell in left:
            write_cell(plan, folder, cell, 100)


def test_a_worker_waits_for_the_look(tmp_path: Path) -> None:
    """While another runner has the last cell of a look, there may be more to do."""
    plan, folder = started(tmp_path)
    run_until(plan, folder, lambda cell: cell.seed < 2)
    runner = Runner(plan, folder, Immediate(plan, folder), str, wait_for_others=False)
    assert runner._others_have_work(Progress(plan, folder))
    run_until(plan, folder, lambda cell: True)
    assert not runner._others_have_work(Progress(plan, folder))


def test_a_seed_that_failed_does_not_hold_up_the_others(tmp_path: Path) -> None:
    plan, folder = started(tmp_path)
    first = Progress(plan, folder).in_state("pending")[0]
    folder.fail(first.name, "no luck")
    run_until(plan, folder, lambda cell: True)
    progress = Progress(plan, folder)
    assert not progress.unfinished
    assert progress.counts["failed"] == 1


def test_status_says_what_is_open_and_what_it_may_cost(tmp_path: Path) -> None:
    plan, folder = started(tmp_path)
    assert "4 arms, 12 to 32 cells" in preview(plan, 0, tmp_path)
    run_until(plan, folder, lambda cell: cell.seed < 3)
    text = status_text(Progress(plan, folder))
    assert "open     LoRA against Full: p " in text
    assert "Frozen against" not in text
    assert "next look with 4 of at most 8 seeds, which may take " in text
    assert "3/4" in text  # the arms that go on
    assert "3/3" in text  # Frozen, which stopped
    left = preview(plan, 0, tmp_path)
    assert "3 to 15 cells left to run; 12 done" in left


def test_the_report_shows_the_looks(whole: tuple[Plan, Folder, list[str]]) -> None:
    text = markdown(assemble_report(gather(*whole[:2])))
    assert "A study of 4 arms with 3 to 8 seeds each: " in text
    assert "Looks at the results" in text
    assert "| 3 | 0.0" in text
    assert "Significantly worse than Full: Frozen" in text
    assert "Not all seeds" not in text  # arms that stopped are complete


def test_intervals_have_the_level_of_their_look(whole: tuple[Plan, Folder, list[str]]) -> None:
    numbers = gather(*whole[:2])
    course = numbers.progress.course
    assert course is not None
    levels = dict(zip(course.looks.seeds, course.looks.levels(course.level), strict=True))
    evidence = numbers.blocks[0].paired.evidence
    for one in numbers.analysis.comparisons:
        level = levels[max(len(evidence[name].seeds) for name in (one.arm, one.other))]
        fixed = next(
            known
            for known in analyse(evidence, course.families, level=level, bounds=(0, 1)).comparisons
            if (known.arm, known.other, known.family) == (one.arm, one.other, one.family)
        )
        assert one.high - one.low == pytest.approx(fixed.high - fixed.low)
        assert (one.low > 0 or one.high < 0) == (fixed.p <= level)
    early = next(one for one in numbers.analysis.comparisons if (one.arm, one.other) == ("Frozen", "Full"))
    later = analyse(evidence, course.families, level=course.level, bounds=(0, 1)).comparisons[2]
    assert (later.arm, later.other) == ("Frozen", "Full")
    assert early.high - early.low > later.high - later.low
    single = analyse(evidence, [], level=levels[len(evidence["Frozen"].seeds)], bounds=(0, 1)).estimates["Frozen"]
    assert numbers.analysis.estimates["Frozen"] == single


def test_trials_and_sequential_seeds(tmp_path: Path) -> None:
    plan, folder = started(tmp_path, select=STUDY["select"])
    assert plan.size_text == "20 to 40 cells"
    run_until(plan, folder, lambda cell: True)
    progress = Progress(plan, folder)
    assert not progress.unfinished
    assert len(progress.arms[3].repetitions) == 3
    assert len(progress.arms[0].repetitions) > 3

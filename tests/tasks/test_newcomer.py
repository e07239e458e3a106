"""A task and its data from outside the package, in two short files, do everything that the package's own do."""

import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import ftlit
from ftlit.__main__ import main
from ftlit.tasks import TaskModule
from tests.support.command_line import ROOT, arguments
from tests.support.data import GOOD, sentence, write_splits

FILES = sorted((ROOT / "tests/support/newcomer").glob("*.py"))
OPTIONS = {"model__optimizer": "AdamW", "model__optimizer__lr": 0.01}


def reviews(count: int, seed: int) -> list[dict[str, Any]]:
    """Texts with as many good words as stars."""
    rng = random.Random(seed)
    stars = [rng.randrange(5) for _ in range(count)]
    return [{"text": " ".join([sentence(rng, ["word0"]), *rng.choices(GOOD, k=n)]), "stars": n} for n in stars]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the newcomer works: two modules and a data set."""
    path = tmp_path_factory.mktemp("newcomer")
    for file in FILES:
        shutil.copy(file, path)
    write_splits(path / "reviews", {split: reviews(n, i) for i, (split, n) in enumerate({"train": 80, "test": 20}.items())})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(sys, "path", [str(path), *sys.path])
        yield path


@pytest.fixture(scope="module")
def run(folder: Path, tiny: Any) -> Path:
    given = {"model__backbone": tiny("bert"), "data__dataset": "reviews", "run_dir": "run", "trainer__max_epochs": 3}
    main(arguments("fit", "stars.Stars", "stars_data.StarsData", test_after_fit="true", **given, **OPTIONS))
    return folder / "run"


def test_the_files_are_short() -> None:
    lines = [line for file in FILES for line in file.read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) <= 60


def test_it_is_trained_and_evaluated(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    lines = [json.loads(line) for line in (run / "predictions/test.jsonl").read_text().splitlines()]
    errors = [abs(line["prediction"] - line["label"]) for line in lines]
    assert len(errors) == 20
    assert results["test"]["mae"] == pytest.approx(sum(errors) / 20)
    assert json.loads((run / "run.json").read_text())["task"] == "Stars"


@pytest.mark.usefixtures("in_process")
def test_it_predicts_and_exports(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "predictions/test.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in reviews(20, 1)]
    found = ftlit.load(run)(texts)
    assert [row["prediction"] for row in found] == [row["prediction"] for row in rows]
    main(["export", "--run", "run", "--output", "exported"])
    assert ftlit.load("exported")(texts) == found


def test_it_is_compared_in_a_study(folder: Path, tiny: Any) -> None:
    study = {
        "base": {
            "trainer": {"max_epochs": 1, "accelerator": "cpu"},
            "model": {"class_path": "stars.Stars", "init_args": {"backbone": tiny("bert")}},
            "data": {"class_path": "stars_data.StarsData", "init_args": {"dataset": "reviews"}},
        },
        "axes": {"tuning": {"full": {"model.tuning": "Full"}, "probe": {"model.tuning": "Frozen"}}},
        "seeds": 2,
        "compare": {"metric": "mae", "baseline": "full"},
        "folder": "study",
        "launch": {"threads": 1},
    }
    (folder / "stars.yaml").write_text(yaml.safe_dump(study))
    main(["study", "run", "stars.yaml"])
    main(["study", "report", "stars.yaml"])
    report = (folder / "study/report/report.md").read_text("utf-8")
    assert "mae" in report
    assert "probe" in report


def test_tasks_are_at_most_three_classes_below_lightning() -> None:
    def depth(kind: type) -> int:
        return 1 + max(depth(base) for base in kind.__bases__) if issubclass(kind, TaskModule) else 0

    def below(kind: type) -> set[type]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    own = [kind for kind in below(TaskModule) if kind.__module__.startswith("ftlit.")]
    assert len(own) >= 12
    assert [kind.__name__ for kind in own if depth(kind) > 3] == []

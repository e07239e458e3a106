"""Averages of runs: the weights are the mean, shares are chosen on validation, and the result is a run like others."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import ftlit
from ftlit.__main__ import main
from ftlit.commands.update.soup import chosen_shares, mean
from ftlit.runs.checkpoint import load_task
from ftlit.runs.files import BEST
from tests.support.command_line import refusal
from tests.support.runs import fitted

Finished = Callable[[str], Path]


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])


@pytest.fixture(scope="module")
def other(finished: Finished, sentiment: str, tiny: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with LoRA and another seed that began with a finished one."""
    given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "model__init_from": finished("Full")}
    tuning = {"model__tuning": "LoRA", "model__tuning__r": 2, "seed_everything": 5}
    return fitted(tmp_path_factory.mktemp("soup") / "other", "TextClassification", test_after_fit="true", **given, **tuning)


def whole(run: Path) -> dict[str, torch.Tensor]:
    task = load_task(run / BEST)
    task.replace_backbone(task.tuning.merge(task.backbone))
    return task.model.state_dict()


def test_the_mean_of_two_runs_is_a_run(finished: Finished, other: Path, sentiment: str, tmp_path: Path) -> None:
    target = tmp_path / "mean"
    main(["soup", "--run", str(finished("Full")), "--run", str(other), "--output", str(target)])
    one, two, both = (whole(run) for run in (finished("Full"), other, target))
    assert both.keys() == one.keys()
    for name, weight in both.items():
        torch.testing.assert_close(weight, (one[name] + two[name]) / 2, atol=1e-6, rtol=1e-6)
    run = ftlit.open_run(target)
    assert run.finished
    assert run.record["data"]["splits"].keys() == {"train", "validation", "test"}
    assert run.record["shares"] == {str(finished("Full")): 0.5, str(other): 0.5}
    assert [parent["as"] for parent in ftlit.history(target)["parents"]] == [["average 0.5"], ["average 0.5"]]
    rows = [json.loads(line) for line in (Path(sentiment) / "test.jsonl").read_text().splitlines()]
    said = ftlit.load(target)([row["text"] for row in rows])
    right = sum(answer["prediction"] == row["label"] for answer, row in zip(said, rows, strict=True)) / len(rows)
    assert run.results["test"]["accuracy"] == pytest.approx(right)
    assert len(run.prediction_rows("validation")) == 31


def test_the_mean_of_weights() -> None:
    states = [{"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}, {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(4)}]
    found = mean(states, [0.25, 0.75])
    assert torch.equal(found["w"], torch.tensor([2.5, 5.0]))
    assert found["n"] == 4
    assert torch.equal(mean(states, [1.0, 0.0])["w"], states[0]["w"])


def test_shares_are_those_of_the_best_score() -> None:
    asked = list[list[float]]()

    def near(best: Sequence[float]) -> Callable[[Sequence[float]], float]:
        def score(shares: Sequence[float]) -> float:
            asked.append(list(shares))
            return -sum((a - b) ** 2 for a, b in zip(shares, best, strict=True))

        return score

    assert chosen_shares([1, 2], "line", near([0.32, 0.68])) == pytest.approx([0.3, 0.7])
    assert len(asked) == 11
    assert chosen_shares([1, 2], "line", lambda shares: 1.0) == [1.0, 0.0]  # nothing is won: the old model stays
    assert chosen_shares([1, 2, 3, 4], "uniform", near([])) == [0.25] * 4
    # The second run is the best alone, the third helps it, and the others make it worse.
    assert chosen_shares([1, 2, 3, 4], "greedy", near([0, 0.6, 0.4, 0])) == [0, 0.5, 0.5, 0]
    assert chosen_shares([1, 2, 3], "greedy", near([0, 0, 1])) == [0, 0, 1]


def test_what_cannot_be_averaged(finished: Finished, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, target = str(finished("Full")), ["--output", str(tmp_path / "x")]
    assert "--by uniform needs two runs or more, got 1" in refusal(["soup", "--run", one, *target], capsys)
    assert "is given twice; a mean of weights counts each run once" in refusal(["soup", *(["--run", one] * 2), *target], capsys)
    three = ["soup", *(["--run", one] * 3), "--by", "line", *target]
    assert "--by line needs two runs, got 3" in refusal(three, capsys)
    prompt = ["soup", "--run", one, "--run", str(finished("PromptTuning")), *target]
    assert "cannot be merged into the backbone" in refusal(prompt, capsys)
    assert "holds a finished run" in refusal(["soup", "--run", one, "--run", str(other), "--output", str(other)], capsys)
    assert not (tmp_path / "x").exists()

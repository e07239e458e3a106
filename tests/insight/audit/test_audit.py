"""Audits of runs in which bias was planted, and of runs that have none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.insight.audit.frames import Audit
from ftlit.insight.audit.gate import FAILED
from tests.insight.audit.planted import HOSTILE, LEXICON, NAMES, balanced_run, biased_run
from tests.support.command_line import ftlit as command
from tests.support.command_line import refusal

WORDS = {"lexicons": [LEXICON]}
CONFIG: dict[str, Any] = {
    "groups": {"columns": ["pet", "site"]},
    "substitutions": WORDS,
    "templates": {"texts": ["{name} is here", "word30 {name} word40"], "lexicons": {"name": LEXICON}},
    "behaviour": {
        "invariance": ["typos", "punctuation"],
        "directional": [
            {"change": "append", "text": f"{NAMES['dogs'][0]} {NAMES['dogs'][1]} {NAMES['dogs'][2]}", "label": "good"},
            {"change": "append", "text": NAMES["cats"][0], "label": "good", "expect": "higher"},
        ],
    },
}


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return biased_run(tmp_path_factory.mktemp("biased"))


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return balanced_run(tmp_path_factory.mktemp("balanced"))


@pytest.fixture(scope="module")
def found(biased: Path) -> Audit:
    return ftlit.audit(biased, CONFIG)


def test_names_that_decide_the_label_are_found(found: Audit) -> None:
    for source in ("pets", "templates"):
        (row,) = found.effects[found.effects["source"] == source].itertuples()
        assert (row.group, row.other, row.outcome, row.verdict) == ("cats", "dogs", "good", "differs")
        assert row.low < row.difference < row.high < -0.4
        (whole,) = found.substitutions[found.substitutions["source"] == source].itertuples()
        assert whole.changed_low > 0.5
        assert whole.distance == pytest.approx(-row.difference, abs=0.1)


def test_a_model_of_balanced_data_has_no_difference(balanced: Path) -> None:
    clean = ftlit.audit(balanced, {"substitutions": WORDS, "groups": {"columns": ["pet"]}, "behaviour": None})
    assert clean.effects["verdict"].tolist() == ["alike"]
    assert clean.groups["verdict"].tolist() == ["open", "open"]
    assert (clean.substitutions["changed"] < 0.05).all()
    assert set(clean.shortcuts["word"]) & {word for names in NAMES.values() for word in names} == set()


def test_coverage_and_pairs(found: Audit) -> None:
    (one,) = found.coverage
    assert (one.source, one.searched, one.found, one.mixed) == ("pets", 120, 120, 0)
    own = found.pairs[found.pairs["source"] == "pets"]
    assert len(own) == 120
    assert all(row.text.count("→") >= 1 and {row.group, row.other} == set(NAMES) for row in own.itertuples())
    assert (own["changed"] == (own["before"] != own["after"])).all()


def test_groups_of_rows(found: Audit, biased: Path) -> None:
    """The metric of each group is that of its predictions, and the gap is that to the rest."""
    rows = pd.DataFrame([json.loads(line) for line in (biased / "predictions/test.jsonl").read_text().splitlines()])
    pets = [json.loads(line)["pet"] for line in (biased.parent / "data/test.jsonl").read_text().splitlines()]
    right = (rows["label"] == rows["prediction"]).groupby(np.array(pets)).mean()
    own = found.groups[found.groups["column"] == "pet"].set_index("group")
    assert own["value"].to_dict() == pytest.approx(right.to_dict())
    assert own.loc["dogs", "gap"] == pytest.approx(right["dogs"] - right["cats"])
    assert own["verdict"].to_dict() == {"dogs": "worse", "cats": "better"}
    assert own.loc["dogs", "gap_high"] < 0
    assert set(found.groups[found.groups["column"] == "site"]["verdict"]) == {"open"}


def test_labels_by_group_in_data_and_model(found: Audit) -> None:
    own = found.balance[(found.balance["column"] == "pet") & (found.balance["label"] == "bad")].set_index("group")
    assert own["train"].to_dict() == {"cats": 0.0, "dogs": 1.0}
    assert own.loc["dogs", "predicted"] > 0.9
    assert own.loc["dogs", "right"] == pytest.approx(0.5, abs=0.15)
    assert own.loc["dogs", "low"] > 0.2  # the model says bad of dogs far more often than is right
    assert own.loc["cats", "low"] <= 0 <= own.loc["cats", "high"]


def test_names_are_shortcuts_and_the_model_leans_on_them(found: Audit) -> None:
    """All words that are tied to a label are names, since the others were drawn alike for both."""
    names = {word: label for group, label in (("cats", "good"), ("dogs", "bad")) for word in NAMES[group]}
    assert len(found.shortcuts) == 10
    assert {row.word: row.label for row in found.shortcuts.itertuples()}.items() <= names.items()
    assert (found.shortcuts["share"] == 1).all()
    assert (found.shortcuts["pmi"] > 0.8).all()
    assert found.shortcuts["fall"].mean() > 0.2


def test_behaviour(found: Audit) -> None:
    tests = found.tests.set_index("test")
    assert list(tests.index) == ["typos", "punctuation", "append lowers good", "append raises good"]
    assert tests.loc["append lowers good", "passed"] > 0.9
    for row in tests.itertuples():
        own = found.tested[found.tested["source"] == row.Index]
        assert own["passed"].mean() == row.passed
        assert row.low <= row.passed <= row.high
    lowered = found.tested[found.tested["source"] == "append lowers good"]
    assert set(lowered["before"]) == {"good"}  # a score that is low cannot fall
    same = found.tested[found.tested["source"] == "typos"]
    assert (same["passed"] == ~same["changed"]).all()


# The command


def audited(run: Path, config: dict[str, Any], tmp_path: Path, *options: str) -> int:
    """The exit code of the command."""
    (tmp_path / "audit.yaml").write_text(json.dumps(config))
    try:
        main(["audit", f"--run={run}", f"--config={tmp_path / 'audit.yaml'}", f"--output={tmp_path / 'out'}", *options])
    except SystemExit as left:
        return int(left.code or 0)
    return 0


GATE = {
    "max_gap": {"pet": 0.1},
    "max_changed": {"pets": 0.9999, "templates": 1.0},
    "min_pass_rate": {"append lowers good": 0.5},
}


def test_the_gate_says_which_limit_failed_by_how_much(biased: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audited(biased, {**CONFIG, "gate": GATE}, tmp_path) == FAILED == 3
    said = capsys.readouterr().err.splitlines()
    stored = json.loads((tmp_path / "out/audit.json").read_text())  # written all the same
    missed = {check["limit"]: check for check in stored["checks"] if not check["kept"]}
    assert list(missed) == ["max_gap"]
    by = missed["max_gap"]["value"] - 0.1
    assert said == [f"gate.max_gap 0.1 is exceeded by {by:.4f}: pet = {missed['max_gap']['of'][6:]} has {by + 0.1:.4f}"]
    assert (stored["passed"], len(stored["checks"])) == (False, 4)


def test_hostile_texts_are_escaped(biased: Path, tmp_path: Path) -> None:
    assert audited(biased, CONFIG, tmp_path) == 0
    page, summary = ((tmp_path / "out" / name).read_text() for name in ("audit.html", "audit.md"))
    assert HOSTILE not in page
    assert "<script" not in page
    assert HOSTILE not in summary
    assert "&lt;script&gt;" in page
    lines = [json.loads(line) for line in (tmp_path / "out/pairs.jsonl").read_text().splitlines()]
    assert any(HOSTILE in line["text"] for line in lines)
    assert {line["source"] for line in lines} == {"pets", "templates", *CONFIG["behaviour"]["invariance"], "append lowers good",
                                                  "append raises good"}  # fmt: skip


def test_without_a_config(biased: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What needs no settings is done, and what the texts do not have is said."""
    main(["audit", f"--run={biased}", f"--output={tmp_path / 'out'}", "--split=validation"])
    said = capsys.readouterr().out
    assert "No row of validation has words of one group of gender, names, places." in said
    assert "typos" in said
    assert "Words tied to a label in train" in said
    assert refusal(["audit", f"--run={biased}", f"--output={tmp_path / 'out'}"], capsys).count("--overwrite") == 1


def test_mistakes_of_the_user_leave_with_2(biased: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for config, said in (
        ({"groups": {"columns": ["pets"]}}, "groups.columns: test of"),
        ({"groups": {"columns": ["text"]}}, "'text' has 120 different values in 120 rows"),
        ({"groups": {"columns": ["pet"], "metric": "acuracy"}}, "no metric 'acuracy'. Did you mean 'accuracy'?"),
        (
            {"behaviour": {"directional": [{"change": "negation", "label": "god"}]}},
            "names the label 'god'. Did you mean 'good'?",
        ),
        (
            {"substitutions": {}, "gate": {"max_changed": {"gendr": 0.1}}},
            "gate.max_changed names 'gendr'. Did you mean 'gender'?",
        ),
        ({"gates": {}}, "the key 'gates'. Did you mean 'gate'?"),
        ({"templates": {"texts": [{"x": "{n}"}], "lexicons": {"n": "gender"}}}, "templates.texts[0] is no row of this run"),
    ):
        assert audited(biased, {"substitutions": None, "behaviour": None, **config}, tmp_path) == 2, said
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="--split must be test or validation, got 'tset'"):
        ftlit.audit(biased, split="tset")


def test_a_limit_that_nothing_was_measured_for_is_not_kept(
    biased: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"substitutions": {"lexicons": ["gender"]}, "behaviour": None, "gate": {"max_changed": 0.5}}
    assert audited(biased, config, tmp_path) == FAILED
    assert capsys.readouterr().err == "gate.max_changed 0.5 of gender: nothing could be measured\n"


@pytest.mark.slow
def test_exit_codes_of_the_program(biased: Path, tmp_path: Path) -> None:
    file = tmp_path / "audit.yaml"
    for gate, code in (({"max_changed": 0.5}, 3), ({"max_changed": 1.0}, 0), ({"max_changed": 1.5}, 2)):
        file.write_text(json.dumps({"substitutions": WORDS, "behaviour": None, "gate": gate}))
        options = ["audit", "--run", str(biased), "--config", str(file), "--output", str(tmp_path / "out"), "--overwrite"]
        command(options, code)

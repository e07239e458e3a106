"""The study file: what is read from it, which cells follow, and what is said of mistakes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftlit.errors import UserError
from ftlit.study.command import main
from ftlit.study.plan import fingerprint
from ftlit.study.plan.cells import Cell, Plan
from ftlit.study.plan.file import parse_overrides, read_study
from ftlit.study.plan.fingerprint import data_fingerprint
from ftlit.study.running.check import check_metric
from ftlit.study.state.direction import study_lower_is_better
from ftlit.study.state.folder import Folder
from ftlit.util.files import read_json, write_json
from ftlit.util.settings import read_yaml, value_at, with_value
from tests.metrics.test_direction import WithErrors
from tests.support.study.synthetic import first_trials, made, write_all

BASE = {
    "model": {"class_path": "TextClassification", "init_args": {"backbone": "tiny", "tuning": "Full"}},
    "data": {"class_path": "TextClassificationData", "init_args": {"dataset": "rows.csv"}},
}
STUDY: dict[str, Any] = {
    "base": BASE,
    "axes": {
        "tuning": {"full": {"model.tuning": "Full"}, "lora": {"model.tuning": {"class_path": "LoRA", "init_args": {"r": 4}}}},
        "shots": [16, 64],
    },
    "seeds": [0, 1],
    "compare": {"metric": "accuracy", "baseline": "full"},
}
LR = "model.optimizer.init_args.lr"


def plan(folder: Path, overrides: dict[str, Any] | None = None, **keys: Any) -> Plan:
    """A study whose file has some other keys."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **keys}, sort_keys=False))
    return Plan(read_study(file, overrides))


# Configs


def test_keys_with_dots_reach_into_classes() -> None:
    config = with_value({"model": "TextClassification"}, "model.tuning", "LoRA")
    assert config == {"model": {"class_path": "TextClassification", "init_args": {"tuning": "LoRA"}}}
    config = with_value(config, "model.tuning.r", 4)
    assert value_at(config, "model.init_args.tuning.init_args.r") == value_at(config, "model.tuning.r") == 4
    assert with_value(config, "model.tuning", "Full")["model"]["init_args"]["tuning"] == "Full"  # whole, not merged
    assert value_at(config, "model.tuning.r") == 4  # what was given stays


def test_files_stand_in_for_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/tuning.yaml").write_text("class_path: LoRA\ninit_args: {r: 8}\n")
    (tmp_path / "parts/model.yaml").write_text("class_path: TextClassification\ninit_args: {tuning: tuning.yaml}\n")
    (tmp_path / "run.yaml").write_text("model: parts/model.yaml\nlr: 1e-4\n")
    found = read_yaml(tmp_path / "run.yaml")
    assert value_at(found, "model.tuning.r") == 8
    assert found["lr"] == 1e-4


# Cells


def test_every_combination_with_every_seed(tmp_path: Path) -> None:
    found = plan(tmp_path)
    assert [arm.name for arm in found.arms] == ["full, 16", "full, 64", "lora, 16", "lora, 64"]
    cells = [cell for arm in found.arms for cell in found.repetitions(arm, {})]
    assert len({cell.name for cell in cells}) == found.size == 8
    config = cells[-1].config
    assert value_at(config, "model.tuning.r") == 4
    assert value_at(config, "data.shots") == 64
    assert config["seed_everything"] == 1


def test_designs(tmp_path: Path) -> None:
    left = plan(tmp_path, exclude=[{"tuning": "full", "shots": 16}])
    assert [arm.name for arm in left.arms] == ["full, 64", "lora, 16", "lora, 64"]
    drawn = [arm.name for arm in plan(tmp_path, design={"random": 2, "seed": 1}).arms]
    assert len(drawn) == 2
    assert drawn == [arm.name for arm in plan(tmp_path, design={"random": 2, "seed": 1}).arms]
    listed = plan(tmp_path, design={"list": [{"tuning": "lora", "shots": 64}, {"tuning": "full", "shots": 16}]})
    assert [arm.name for arm in listed.arms] == ["lora, 64", "full, 16"]


def test_several_bases(tmp_path: Path) -> None:
    other = with_value(BASE, "data.dataset", "other.csv")
    found = plan(tmp_path, base={"small": BASE, "large": other}, set={"patience": None})
    assert len(found.arms) == 8
    assert found.arms[0].name == "small, full, 16"
    assert value_at(found.arms[-1].config, "data.dataset") == "other.csv"
    assert all(arm.config["patience"] is None for arm in found.arms)


def test_a_column_is_no_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("a\n1\n")
    names = {
        "text": "words",
        "label": "label",
        "on_bad_rows": "drop",
        "label_names": ["pos", "neg"],
        "splits": {"test": "held"},
    }
    given = {"class_path": "TextClassificationData", "init_args": {"dataset": "rows.csv", **names}}
    before = data_fingerprint({"data": given})
    for folder in ("label", "words", "drop", "pos", "held", "TextClassificationData"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text("a\n1\n")
    assert data_fingerprint({"data": given}) == before
    folders = {"dataset": "label", "unlabelled": "words", "label_names": "drop", "template": "pos", "of_a_user": ["held"]}
    for key, value in folders.items():
        file = tmp_path / (value if isinstance(value, str) else value[0]) / "x.csv"
        config = {"data": {"class_path": "X", "init_args": {**given["init_args"], key: value}}}
        fingerprint._hash.cache_clear()
        first = data_fingerprint(config)
        file.write_text("b\n2\n")
        fingerprint._hash.cache_clear()
        assert data_fingerprint(config) != first, key


def test_a_cell_is_named_by_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arm = plan(tmp_path).arms[0]
    name = arm.cell(0, ["seed_everything"]).name
    assert arm.cell(1, ["seed_everything"]).name != name
    reordered = {"data": BASE["data"], "model": BASE["model"]}
    assert plan(tmp_path, base=reordered).arms[0].cell(0, ["seed_everything"]).name == name
    assert plan(tmp_path, base={**BASE, "run_dir": "elsewhere"}).arms[0].cell(0, ["seed_everything"]).name == name


def test_other_data_are_another_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for text in ("a,b\n", "a,c\n"):
        (tmp_path / "rows.csv").write_text(text)
        fingerprint._hash.cache_clear()  # as in another process
        names.append(plan(tmp_path).arms[0].cell(0, ["seed_everything"]).name)
    assert names[0] != names[1]


# Mistakes

PROBE = {"model.tuning": "Frozen"}
MISTAKES = [
    ({"axis": {}}, "has the key 'axis'. Did you mean 'axes'?"),
    ({"compare": {"metrik": "accuracy"}}, "compare has the key 'metrik'. Did you mean 'metric'?"),
    ({"compare": {"baseline": "full"}}, "compare needs the key 'metric'"),
    ({"compare": {"metric": "accuracy", "baseline": "ful"}}, "compare.baseline 'ful' is not an arm. Did you mean 'full'?"),
    ({"compare": {"metric": "accuracy", "axis": "shot"}}, "compare.axis 'shot' is not an axis. Did you mean 'shots'?"),
    ({"compare": {"metric": "accuracy", "correction": "hol"}}, "compare.correction is 'hol'. Did you mean 'holm'?"),
    ({"axes": {"shotz": [1, 2]}}, "the axis 'shotz' is a list of values, so its name should be a key such as data.shots. Did"),
    ({"axes": {"shots": [16, 16]}}, "the axis 'shots' lists a value twice"),
    ({"axes": {"tuning": {"full": "Full"}}}, "axes.tuning.full should hold keys of the config and their values"),
    ({"axes": {"tuning": {"full": {"model.tuning": "Full"}}}}, "the axis 'tuning' changes nothing"),
    (
        {"axes": {"tuning": {"full": {"model.tuning": "Full"}, "probe": PROBE, "again": PROBE}}},
        "the arms 'probe' and 'again' have the same config; leave one of them out",
    ),
    ({"exclude": [{"tuning": "lore"}]}, "exclude names 'lore' of the axis 'tuning'. Did you mean 'lora'?"),
    ({"exclude": [{"tuning": "full"}, {"tuning": "lora"}]}, "exclude leaves no combination of the axes"),
    ({"design": "latin"}, "design should be grid, {random: 20, seed: 0} or {list: [...]}, got 'latin'"),
    ({"seeds": [0, 0]}, "seeds lists a seed twice"),
    (
        {"seeds": "three"},
        "seeds should be a list of integers, such as [0, 1, 2], the number of seeds, or {at_least: 3, at_most: 30}; got",
    ),
    ({"select": {"over": {LR: {"low": 1, "high": 2}}}}, f"select.over.{LR} is a range; use a list of values"),
    ({"select": {"over": {LR: [1]}, "method": "tpe"}}, "select.method tpe needs select.trials"),
    ({"select": {"over": {LR: {"low": 2, "high": 1}}, "method": "random", "trials": 2}}, "low should be below high"),
    ({"select": {"nested": True}}, "select needs the key 'over'"),
    ({"select": {"over": {LR: [1]}, "nested": True, "seeds": [0]}}, "select.seeds goes with select.nested: false"),
    ({"select": {"over": {LR: [1, 2, 4]}, "extend": -1}}, "select.extend should be at least 0, got -1"),
    ({"select": {"over": {LR: [1, 2]}, "extend": 1}}, "select.extend needs a list of three or more numbers in equal steps"),
    ({"select": {"over": {LR: [1, 2, 4]}, "extend": 1, "method": "random", "trials": 2}}, "goes with select.method: grid, not"),
    ({"select": {"over": {LR: [1, 2, 4]}, "rungs": 2}}, "select.rungs goes with select.method: halving, not with grid"),
    ({"select": {"over": {LR: [1, 2, 4]}, "factor": 3}}, "select.factor goes with select.method: halving, not with grid"),
    ({"select": {"over": {LR: [1, 2, 4]}, "seed": 0}}, "select.seed is for values that are drawn, and without select.trials"),
    ({"select": {"over": {LR: [1, 2, 4]}, "method": "halving", "rungs": 1}}, "select.rungs should be at least 2, got 1"),
    ({"select": {"over": {LR: [1, 2, 4]}, "method": "halving", "factor": 1}}, "select.factor should be at least 2, got 1"),
    ({"select": {"over": {LR: [1, 2, 4]}, "method": "halving", "rungs": 3}}, "needs at least 9 settings to choose from, got 3"),
    ({"select": {"over": {LR: [1, 2, 4]}, "method": "halving"}}, "the arm 'full, 16' has neither; set one of them"),
    (
        {"select": {"over": {LR: [1, 2, 4]}, "method": "halving"}, "set": {"trainer.max_epochs": 2}},
        "begins with 1/3 of trainer.max_epochs, which should be at least 3 but is 2 in the arm 'full, 16'",
    ),
    ({"launch": {"launcher": "slrum"}}, "launch.launcher is 'slrum'. Did you mean 'slurm'?"),
    ({"keep": "last"}, "keep is 'last'. There are: none, best, all."),
    ({"base": "missing.yaml"}, "is not a YAML file; paths are relative to the folder of study.yaml"),
    ({"base": {"data": {}}}, "is not an experiment; it should have the keys model and data"),
    ({"axes": [1, 2]}, "axes should be keys and values, got [1, 2]"),
    ({"axes": {"shots": 3}}, "axes.shots should be a list of values or the keys and values of each label, got 3"),
    ({"set": [1]}, "set should be keys and values or null, got [1]"),
    ({"design": {"list": 3}}, "design should be grid, {random: 20, seed: 0} or {list: [...]}, got {'list': 3}"),
    ({"design": {"random": 0}}, "design should be grid"),
    ({"seeds": [True]}, "seeds should be a list of integers"),
    ({"seed_keys": "seed"}, "seed_keys should be a list of texts or null, got 'seed'"),
    ({"launch": {"jobs": 0}}, "launch.jobs should be at least 1, got 0"),
    ({"launch": {"threads": "two"}}, "launch.threads should be an integer, got 'two'"),
    ({"launch": 2}, "launch should hold keys and values"),
    ({"select": {"over": {LR: []}}}, f"select.over.{LR} should have at least one value, got []"),
    ({"select": {"over": [LR]}}, "select.over should be keys and values, got"),
    ({"select": {"over": {LR: [1]}, "method": "tpe", "trials": -1}}, "select.trials should be at least 1, got -1"),
    (
        {"select": {"over": {LR: {"low": "a", "high": 1}}, "method": "random", "trials": 2}},
        "low and high should be numbers, got",
    ),
    ({"compare": {"metric": "accuracy", "level": 5}}, "compare.level should be between 0 and 1, got 5"),
    ({"compare": {"metric": "accuracy", "split": "dev"}}, "compare.split is 'dev'. There are: test, validation."),
    ({"compare": {"metric": {"a": 1}}}, "compare.metric should be a text or a list of texts, got {'a': 1}"),
    ({"compare": {"metric": []}}, "compare.metric should name a metric, got an empty list"),
    (
        {"compare": {"metric": "accuracy", "margin": 2}},
        "compare.margin should be above 0 and below 1, the range of accuracy, got 2",
    ),
    ({"compare": {"metric": "loss", "margin": 0}}, "compare.margin should be above 0, got 0"),
    ({"compare": {"metric": "accuracy", "pairs": "some"}}, "compare.pairs should be baseline, all or a list of pairs"),
    ({"compare": {"metric": "accuracy", "pairs": "baseline"}}, "compare.pairs: baseline needs compare.baseline"),
    (
        {"compare": {"metric": "accuracy", "pairs": [["ful", "lora"]]}},
        "compare.pairs names 'ful', which is not an arm. Did you",
    ),
    ({"compare": {"metric": "accuracy", "pairs": [["full"]]}}, "compare.pairs should list pairs of two different arms"),
    ({"name": [3]}, "name should be a text or an integer or a number or null, got [3]"),
]


@pytest.mark.parametrize(("keys", "text"), MISTAKES, ids=[text[:40] for _, text in MISTAKES])
def test_mistakes(tmp_path: Path, keys: dict[str, Any], text: str) -> None:
    baseline = {} if "compare" in keys or "axes" not in keys else {"compare": {"metric": "accuracy"}}
    with pytest.raises(UserError) as caught:
        trials(tmp_path, {**baseline, **keys})
    assert text in str(caught.value)


def trials(folder: Path, keys: dict[str, Any]) -> list[list[Cell]]:
    """What a study with these keys would try."""
    found = plan(folder, **keys)
    return [first_trials(found, arm) for arm in found.arms]


def test_options_of_the_command(tmp_path: Path) -> None:
    given = ["--seeds", "[0, 1, 2]", "--set.trainer.max_epochs=1", "--compare.metric", "loss", "--folder", "x"]
    found = plan(tmp_path, parse_overrides(given)).study
    assert found.seeds == [0, 1, 2]
    assert found.bases["study"]["trainer"]["max_epochs"] == 1
    assert (found.compare.metric, found.compare.baseline, found.folder) == ("loss", "full", Path("x"))
    for wrong, text in [
        (["--seed", "1"], "no option '--seed'. Did you mean '--seeds'?"),
        (["--seeds"], "--seeds needs a value"),
    ]:
        with pytest.raises(UserError) as caught:
            parse_overrides(wrong)
        assert text in str(caught.value)


FLAGS = [
    (["status", "--plan"], "--plan goes with ftlit study run, not with status"),
    (["run", "--watch"], "--watch goes with ftlit study status, not with run"),
    (["run", "--steps", "3"], "--steps goes with ftlit study run FILE --plan"),
    (["rnu"], "ftlit study has no action 'rnu'. Did you mean 'run'?"),
]


@pytest.mark.parametrize(("given", "text"), FLAGS, ids=[" ".join(given) for given, _ in FLAGS])
def test_flags_that_would_be_passed_over(tmp_path: Path, given: list[str], text: str) -> None:
    plan(tmp_path)
    action, *flags = given
    with pytest.raises(UserError) as caught:
        main([action, str(tmp_path / "study.yaml"), *flags])
    assert text in str(caught.value)


def run_once(folder: Path, overrides: dict[str, Any]) -> Plan:
    """A study whose cells have finished, and whose file was run with other values of some keys."""
    found = plan(folder, {"folder": str(folder / "study"), **overrides})
    opened = Folder(found.study.folder)
    opened.open(found.study, folder / "study.yaml")
    for arm in found.arms:
        write_all(found, opened, found.repetitions(arm, {}), examples=20)
    return found


def test_commands_work_from_the_folder_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text,label\nfine,good\n")
    found = run_once(tmp_path, {"seeds": [4, 5], "set.data.limit_test": 20})
    Path("study.yaml").unlink()
    Path("study").rename("moved")
    again = Plan(read_study(tmp_path / "moved"))
    assert [arm.name for arm in again.arms] == [arm.name for arm in found.arms]
    names = [[cell.name for arm in one.arms for cell in one.repetitions(arm, {})] for one in (found, again)]
    assert names[0] == names[1]
    Path("rows.csv").unlink()
    for action in ("status", "report", "diff"):
        main([action, str(tmp_path / "moved")])
    said = capsys.readouterr().out
    assert "8 done of 8 cells" in said
    assert "note:" not in said
    assert "8 of 8 repetitions have finished" in (tmp_path / "moved/report/report.md").read_text()


def test_a_report_is_not_replaced_by_an_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_once(tmp_path, {"seeds": [4, 5]})
    folder = str(tmp_path / "study")
    main(["report", folder])
    before = (tmp_path / "study/report/report.html").read_bytes()
    capsys.readouterr()
    with pytest.raises(UserError, match=f"has 8 finished runs, .* ftlit study report {folder} reports the study as it was"):
        main(["report", str(tmp_path / "study.yaml"), "--folder", folder])
    assert (tmp_path / "study/report/report.html").read_bytes() == before
    assert "note: the study was last run with other values of seeds; " in capsys.readouterr().out
    main(["status", str(tmp_path / "study.yaml"), "--folder", folder, "--seeds", "[4]"])
    assert "other values of seeds" in capsys.readouterr().out


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no study: it has no study\.yaml"):
        main(["status", str(tmp_path)])


# The direction of the metric


def test_the_direction_of_a_metric_comes_from_the_runs(tmp_path: Path) -> None:
    study, folder = made(tmp_path, 20, select=None, seeds=[0])
    assert not study_lower_is_better(study.study, folder)
    odd = replace(study.study, compare=replace(study.study.compare, metric="wer"))
    with pytest.raises(UserError, match=r"'wer' may be better .* set compare\.higher_is_better in the study's file"):
        study_lower_is_better(odd, folder)
    run = next((folder.path / "cells").iterdir()) / "run.json"
    write_json(run, {**read_json(run), "higher_is_better": {"wer": False, "accuracy": True}})
    assert study_lower_is_better(odd, folder)
    given = replace(odd, compare=replace(odd.compare, higher_is_better=True))
    assert not study_lower_is_better(given, folder), "the study's file decides"


def test_an_unknown_direction_is_found_before_anything_runs(tmp_path: Path, tiny: Callable[[str], str]) -> None:
    task = WithErrors(label_names=["a", "b"], backbone=tiny("bert"), pad_token_id=0)
    given: list[dict[str, Any]] = [{"metric": "hamming"}, {"metric": "errors", "higher_is_better": False}]
    for compare in given:
        check_metric(plan(tmp_path, compare=compare).study, task, "the arm")
    with pytest.raises(UserError, match=r"^compare\.metric: 'errors' may be better .* set compare\.higher_is_better in "):
        check_metric(plan(tmp_path, compare={"metric": "errors"}).study, task, "the arm")
    with pytest.raises(UserError, match=r"compare\.metric 'eror' is not a metric of the arm\. Did you mean 'errors'\?"):
        check_metric(plan(tmp_path, compare={"metric": "eror"}).study, task, "the arm")


def test_the_file_may_give_the_direction(tmp_path: Path) -> None:
    found = plan(tmp_path, compare={"metric": "wer", "higher_is_better": False})
    assert found.study.compare.higher_is_better is False

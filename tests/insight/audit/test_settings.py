"""The file that says what an audit looks at, and the sentences for mistakes in it."""

from pathlib import Path
from typing import Any

import pytest

from ftlit.errors import UserError
from ftlit.insight.audit.settings import INVARIANCE, read_settings

TEMPLATE = {"texts": ["{name} is here"], "lexicons": {"name": "gender"}}


def test_without_a_file_nothing_needs_settings() -> None:
    found = read_settings(None)
    assert found.substitutions is not None
    assert found.substitutions.lexicons is None  # those of the language
    assert found.behaviour is not None
    assert found.behaviour.invariance == list(INVARIANCE)
    assert found.templates is None


def test_a_section_that_is_not_named_has_its_defaults_and_null_leaves_one_out(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("groups: [a, b]\nwords: {a: [x], b: [y]}\n")
    file = tmp_path / "audit.yaml"
    file.write_text(
        "groups: {columns: [source], min_rows: 5}\nbehaviour: null\nsubstitutions: {lexicons: [own.yaml, gender]}\n"
        "gate: {max_gap: {source: 0.1}, max_changed: 0.05}\nlevel: 0.1\n"
    )
    found = read_settings(file)
    assert found.groups is not None
    assert (found.groups.columns, found.groups.min_rows, found.level) == (["source"], 5, 0.1)
    assert found.behaviour is None
    assert found.substitutions is not None
    assert found.substitutions.lexicons == [{"groups": ["a", "b"], "words": {"a": ["x"], "b": ["y"]}}, "gender"]
    assert (found.gate.max_gap, found.gate.max_changed) == ({"source": 0.1}, 0.05)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"group": {}}, "the key 'group'. Did you mean 'groups'?"),
        ({"groups": ["gender"]}, "groups should hold keys and values (columns, metric, min_rows), got ['gender']"),
        ({"groups": {"column": ["gender"]}}, "groups has the key 'column'. Did you mean 'columns'?"),
        ({"groups": {"columns": "gender"}}, "groups.columns should be a list of texts, got 'gender'"),
        ({"groups": {"min_rows": 1}}, "groups.min_rows must be at least 2, got 1"),
        ({"substitutions": {"lexicons": ["gendre"]}}, "substitutions.lexicons[0]: no lexicon 'gendre'. Did you mean 'gender'?"),
        ({"substitutions": {"versions": 0}}, "substitutions.versions must be at least 1, got 0"),
        ({"substitutions": {"tolerance": -1}}, "substitutions.tolerance must be at least 0, got -1"),
        ({"behaviour": {"invariance": ["typo"]}}, "behaviour.invariance has 'typo'. Did you mean 'typos'?"),
        ({"behaviour": {"directional": ["negation"]}}, "behaviour.directional[0] should hold keys and values"),
        (
            {"behaviour": {"directional": [{"change": "negate"}]}},
            "behaviour.directional[0].change is 'negate'. Did you mean 'negation'?",
        ),
        ({"behaviour": {"directional": [{"change": "append", "label": "x"}]}}, "behaviour.directional[0] needs the key 'text'"),
        ({"behaviour": {"directional": [{"change": "negation", "text": "x"}]}}, "has a 'text', which only append takes"),
        ({"templates": {"texts": ["x"]}}, "templates needs the key 'lexicons'"),
        ({"templates": {**TEMPLATE, "texts": []}}, "templates.texts lists no template"),
        ({"templates": {**TEMPLATE, "texts": ["no slot"]}}, "templates.texts[0]: 'no slot' has no slot such as {name}"),
        (
            {"templates": {**TEMPLATE, "texts": ["{nam} is here"]}},
            "has the slot {nam}, which has no lexicon. Did you mean 'name'?",
        ),
        ({"templates": {**TEMPLATE, "texts": [{"name": None}]}}, "put texts with { in quotes"),
        ({"gate": {"max_gap": 0.1}}, "gate.max_gap needs groups.columns"),
        ({"gate": {"max_gapp": 0.1}}, "gate has the key 'max_gapp'. Did you mean 'max_gap'?"),
        ({"gate": {"max_changed": 2}}, "gate.max_changed must be from 0 to 1, got 2"),
        ({"gate": {"min_pass_rate": {"typos": -1}}}, "gate.min_pass_rate must be from 0 to 1"),
        ({"gate": {"min_pass_rate": 0.9}, "behaviour": None}, "gate.min_pass_rate needs behaviour, which is left out"),
        ({"gate": {"max_changed": 0.1}, "substitutions": None}, "gate.max_changed needs substitutions or templates"),
        ({"level": 1.0}, "level must be above 0 and below 1, got 1.0"),
        ({"seed": "x"}, "audit.seed should be an integer, got 'x'"),
    ],
)
def test_mistakes(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        read_settings(given)
    assert said in str(error.value)


def test_a_file_that_does_not_exist() -> None:
    with pytest.raises(
        UserError, match=r"--config 'nowhere.yaml' does not exist; expected a YAML file with groups, substitutions"
    ):
        read_settings("nowhere.yaml")

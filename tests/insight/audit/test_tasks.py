"""Audits of every task."""

import re
from collections import Counter
from pathlib import Path

import pytest

import ftlit
from ftlit.insight.audit.pairs.answers import KINDS
from ftlit.insight.audit.report import document, numbers, text
from ftlit.insight.audit.subject import Subject
from ftlit.insight.audit.texts.edits import Edit, variant
from ftlit.insight.audit.texts.substitution import texts_in
from ftlit.util.render.page import page
from tests.support.every_task import CASES, Case, run_of
from tests.support.speeds import some_by_default

SLOW = {"model__generation__max_new_tokens": 8}


def lexicon(run: Path) -> dict[str, object]:
    """Words that the texts of a run have, and others."""
    rows = [row for _, _, row in Subject(run).shuffled(0)]
    common = [
        word for word, _ in Counter(word for row in rows for text in texts_in(row) for word in text.split()).most_common(6)
    ]
    return {"name": "own", "groups": ["one", "two"], "words": {"one": common, "two": ["other", "more", "third"]}}


@pytest.mark.parametrize("case", some_by_default([(case,) for case in CASES], chosen=[4]), ids=str)
def test_every_task_is_audited(case: Case, tmp_path: Path) -> None:
    """Swapped words and small changes are answered and compared; what a task cannot do is said."""
    writes = case[0] in ("CausalLM", "Seq2Seq")
    run = run_of(case, tmp_path, **(SLOW if writes else {}))
    config = {"substitutions": {"lexicons": [lexicon(run)], "rows": 12}, "behaviour": {"rows": 6}}
    found = ftlit.audit(run, config, split="validation")
    if found.kind not in KINDS:
        assert found.notes[0] == "MaskedLM gives no answers that can be compared, so no texts were changed."
        return
    assert found.pairs["distance"].between(0, None if found.kind == "values" else 1.0 + 1e-6).all() or found.kind == "values"
    assert len(found.pairs) > 0
    assert (found.pairs.loc[found.pairs["distance"] == 0, "changed"] == False).all()  # noqa: E712
    assert {"case", "punctuation", "typos"} & set(found.tests["test"])
    scored = found.kind in ("labels", "relations", "values", "texts", "replies")
    assert all(bool(scores) == scored for scores in found.pairs["scores"])
    assert len(found.effects) == (0 if not scored else len(found.effects["outcome"].unique()))
    assert "Swapped words" in page(document(found))
    assert numbers(found)["passed"]
    assert found.memory["texts"].gt(0).sum() == (6 if writes else 0)
    assert "Tests" in text(found)


def test_entities_stay_where_they_are(tmp_path: Path) -> None:
    """In rows of relations whose words all become longer, the entities are the same words as before."""
    subject = Subject(run_of(CASES[4], tmp_path), "validation")
    for _, _, row in subject.shuffled(0):
        made = variant(row, lambda text: [Edit(one.start(), one.start(), "longer") for one in re.finditer(r"\S+", text)])
        assert made is not None
        assert subject.accepts(made.row)
        for name in ("head", "tail"):
            before, after = (one["text"][one[name]["start"] : one[name]["end"]] for one in (row, made.row))
            assert after == before

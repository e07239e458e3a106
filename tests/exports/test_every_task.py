"""The export of each task and head, opened by transformers and peft in a new process, and by pipelines."""

from collections.abc import Callable
from pathlib import Path

import pytest
import transformers
from transformers import AutoModel, pipeline

import ftlit
from ftlit.__main__ import main
from tests.support.data import sentiment_rows
from tests.support.every_task import CASES, LORA, Case, run_of
from tests.support.runs import fitted
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]
TEXTS = [row["text"] for row in sentiment_rows(8, 7)]


@pytest.mark.parametrize(
    ("case", "adapter"),
    some_by_default([(case, adapter) for case in CASES for adapter in (False, True)], chosen=[6]),
    ids=str,
)
@pytest.mark.slow
def test_a_new_process_opens_it(case: Case, adapter: bool, tmp_path: Path) -> None:
    """The command compares the folder with the run in a new process, and writes none that differs."""
    _, given, kind = case
    run = run_of(case, tmp_path, **LORA)
    folder = tmp_path / "out"
    main(["export", "--run", str(run), "--output", str(folder), *(["--adapter-only"] if adapter else [])])
    if adapter:
        return
    own = given.get("head") is not None
    model = getattr(transformers, kind).from_pretrained(folder, trust_remote_code=own)
    assert type(model).__name__ == "OwnHeadModel" if own else type(model).__module__.startswith("transformers.models.")
    if own:
        for name in (kind, "AutoModel"):
            with pytest.raises(ValueError, match="trust_remote_code=True"):
                getattr(transformers, name).from_pretrained(folder)


@pytest.mark.usefixtures("in_process")
def test_a_head_of_the_user(tiny: Tiny, sentiment: str, tmp_path: Path) -> None:
    """Its code is not exported, so transformers finds no model but the backbone, in a folder of its own."""
    given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "model__head": "tests.support.own_head.Doubled"}
    run = fitted(tmp_path / "run", "TextClassification", trainer__max_steps=4, **given)
    folder = tmp_path / "out"
    main(["export", "--run", str(run), "--output", str(folder)])
    for opening in (lambda: pipeline("text-classification", model=str(folder)), lambda: AutoModel.from_pretrained(folder)):
        with pytest.raises((OSError, ValueError)):
            opening()
    assert type(AutoModel.from_pretrained(folder / "backbone")).__name__ == "BertModel"
    assert ftlit.load(folder)(TEXTS) == ftlit.load(run)(TEXTS)

"""A task and data that do not belong together are refused before anything is loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest

import ftlit.data
import ftlit.tasks
from ftlit.commands.links import check_pair
from ftlit.data import TextClassificationData, TextRegressionData
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.tasks import TaskModule, TextRegression
from tests.support.command_line import arguments, refusal

TASKS = [kind for name in ftlit.tasks.__all__ if isinstance(kind := getattr(ftlit.tasks, name), type)]
TASKS = [kind for kind in TASKS if issubclass(kind, TaskModule) and hasattr(kind, "label_kind")]
DATA = [kind for name in ftlit.data.__all__ if isinstance(kind := getattr(ftlit.data, name), type)]
DATA = [kind for kind in DATA if issubclass(kind, TaskData) and kind is not TaskData]
FITTING = {("CausalLM", "CorpusData"), ("CausalLM", "ChatData"), ("MaskedLM", "CorpusData")}


def test_every_task_learns_from_the_data_of_its_name_and_no_other() -> None:
    assert len(TASKS) == len(DATA) == 9
    for task in TASKS:
        for data in DATA:
            name = (task.__name__, data.__name__)
            if data.__name__ == f"{task.__name__}Data" or name in FITTING:
                check_pair(task, data)
            else:
                with pytest.raises(UserError, match=f"model {name[0]} learns .*, but data {name[1]} has .*; set data to "):
                    check_pair(task, data)


def test_a_class_of_a_user_may_take_other_data() -> None:
    class Any(TextRegression):
        label_kind = None

    class Own(TextClassificationData):
        label_kinds = ()

    check_pair(Any, TextClassificationData)
    check_pair(TextRegression, Own)
    with pytest.raises(UserError, match="set data to TextRegressionData, or choose another model"):
        check_pair(TextRegression, TextClassificationData)
    check_pair(TextRegression, TextRegressionData)


@pytest.mark.parametrize("backbone", ["bert"])
def test_the_command_line_says_so_first(
    tiny: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str], backbone: str
) -> None:
    given = {"run_dir": tmp_path / "run", "model__backbone": tiny(backbone), "data__dataset": "nowhere.csv"}
    said = refusal(arguments("fit", "TextRegression", "TextClassificationData", **given), capsys)
    assert "model TextRegression learns numbers, but data TextClassificationData has labels" in said
    assert not (tmp_path / "run").exists()

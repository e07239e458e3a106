"""A task and data that do not belong together are refused."""

import pytest

import ftlit.data
import ftlit.tasks
from ftlit.commands.links import check_links, check_pair
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.tasks import TaskModule

DATA = [kind for name in ftlit.data.__all__ if isinstance(kind := getattr(ftlit.data, name), type)]
DATA = [kind for kind in DATA if issubclass(kind, TaskData) and kind is not TaskData]
TASKS = [kind for name in ftlit.tasks.__all__ if isinstance(kind := getattr(ftlit.tasks, name), type)]
TASKS = [kind for kind in TASKS if issubclass(kind, TaskModule) and kind.__module__.startswith("ftlit.tasks.")]
TASKS = [kind for kind in TASKS if not kind.__module__.startswith("ftlit.tasks.shared")]
FITTING = {("CausalLM", "CorpusData"), ("CausalLM", "ChatData"), ("MaskedLM", "CorpusData")}


def test_every_task_learns_from_the_data_of_its_name_and_no_other() -> None:
    assert len(TASKS) == len(DATA) == 9
    for task in TASKS:
        for data in DATA:
            name = (task.__name__, data.__name__)
            if data.__name__ == f"{task.__name__}Data" or name in FITTING:
                check_pair(task, data)
            else:
                with pytest.raises(UserError, match=f"{name[0]} .* {name[1]}"):
                    check_pair(task, data)


def test_objects_are_checked_like_names(tiny: object, sentiment: str) -> None:
    backbone = tiny("bert")  # type: ignore[operator]
    data = ftlit.data.TextClassificationData(dataset=sentiment, backbone=backbone)
    with pytest.raises(UserError, match=r"TextRegression .* TextClassificationData"):
        check_links(ftlit.tasks.TextRegression(backbone=backbone, pad_token_id=0), data)

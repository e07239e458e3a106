"""Generated mistakes in data, of every format: each gets one sentence that names what is wrong."""

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import yaml

import ftlit.data
import ftlit.tasks
from ftlit.commands.links import check_pair
from ftlit.errors import UserError
from tests.support.mistakes_data import cases

Tiny = Callable[[str], str]
EVERY = 7  # of which one runs by default


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def said(args: list[str], backbone: str) -> str:
    """What is said of a mistake as soon as the data are read, before a model is built."""
    given = dict(arg[2:].split("=", 1) for arg in args)
    task, kind = getattr(ftlit.tasks, given.pop("model")), getattr(ftlit.data, given.pop("data"))
    options = {key.partition(".")[2]: yaml.safe_load(value) if value else "" for key, value in given.items()}
    if kind is ftlit.data.CorpusData:
        options["objective"] = getattr(task, "objective", None)
    try:
        check_pair(task, kind)
        kind(**{"backbone": backbone, **options, "dataset": given["data.dataset"]}).setup()
    except UserError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}\n{error}"
    return "nothing\n"


def wrong_answers(folder: Path, backbone: str, step: int) -> dict[str, str]:
    """What is not one sentence, or does not name a damaged file, by the name of the mistake."""
    found = {}
    for name, args in list(cases(folder))[::step]:
        sentence = said(args, backbone)
        damaged = next((arg.rpartition("/")[2] for arg in args if "damaged_files" in arg), "")
        if "\n" in sentence or damaged not in sentence or len(sentence) > 500:
            found[name] = sentence
    return found


def test_some_mistakes(tiny: Tiny, tmp_path: Path) -> None:
    assert wrong_answers(tmp_path / "files", tiny("bert"), EVERY) == {}


@pytest.mark.matrix
def test_all_mistakes(tiny: Tiny, tmp_path: Path) -> None:
    assert wrong_answers(tmp_path / "files", tiny("bert"), 1) == {}


def test_names_are_given_once(tmp_path: Path) -> None:
    names = [name for name, _ in cases(tmp_path / "files")]
    assert len(set(names)) == len(names) > 300

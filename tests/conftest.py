"""Fixtures of all tests, and which tests run by default. No test needs the network."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

CACHE = tempfile.TemporaryDirectory(prefix="ftlit-tests-")
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": CACHE.name,
    "HF_DATASETS_CACHE": f"{CACHE.name}/datasets",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
    "OMP_NUM_THREADS": "1",  # parallel tests share the cores
}

import pytest
import torch

from ftlit.exports import verify, verify_script
from ftlit.util.startup import quiet
from tests.support.data import (
    REAL_DATA,
    choice_splits,
    emotion_splits,
    grade_splits,
    relation_splits,
    reversal_splits,
    sentiment_splits,
    write_splits,
)
from tests.support.models import tiny_model, tiny_seq2seq_model
from tests.support.runs import METHODS, fitted

ON_REQUEST = ("slow", "matrix")  # marks of tests that run only where -m names them


def pytest_configure() -> None:
    torch.set_num_threads(1)
    quiet()


def named(item: pytest.Item, config: pytest.Config) -> bool:
    """Whether the command line names this test itself, as ``tests/test_x.py::test_y``."""
    wanted = (arg.partition("::") for arg in config.args if "::" in arg)
    own = item.nodeid.partition("::")[2]
    return any(
        item.path == (config.invocation_params.dir / path).resolve()
        and (own == name or own.startswith((f"{name}[", f"{name}::")))
        for path, _, name in wanted
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.option.markexpr or ""  # not by addopts, which another -m would replace
    left_out = [mark for mark in ON_REQUEST if mark not in asked]
    rest = [item for item in items if any(map(item.get_closest_marker, left_out)) and not named(item, config)]
    config.hook.pytest_deselected(items=rest)
    items[:] = [item for item in items if item not in set(rest)]
    if not REAL_DATA.is_dir():
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(pytest.mark.skip(reason="the real data sets are not here; set FTLIT_DATA to their folder"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of a tiny model of an architecture."""
    made: dict[str, str] = {}

    def make(architecture: str = "bert") -> str:
        if architecture not in made:
            made[architecture] = tiny_model(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set with one label a text: 83 rows of train, 31 of validation, 37 of test."""
    return write_splits(tmp_path_factory.mktemp("sentiment"), sentiment_splits())


@pytest.fixture(scope="session")
def finished(tiny: Callable[[str], str], sentiment: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A finished run of text classification by the name of its tuning method, evaluated on test; tests only read it."""
    root, made = tmp_path_factory.mktemp("finished"), {}

    def make(method: str = "Full") -> Path:
        if method not in made:
            given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "model__tuning": method, **METHODS[method]}
            made[method] = fitted(root / method, "TextClassification", test_after_fit="true", **given)
        return made[method]

    return make


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify exports in this process, which saves the start of another one; some tests do without this."""
    monkeypatch.setattr(verify, "run_in_new_process", lambda work, module=verify_script: module.main(work))


@pytest.fixture(scope="session")
def emotions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set with any number of the labels good, bad and long for a text; same sizes."""
    return write_splits(tmp_path_factory.mktemp("emotions"), emotion_splits())


@pytest.fixture(scope="session")
def grades(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of pairs with a number: the share of good words; same sizes."""
    return write_splits(tmp_path_factory.mktemp("grades"), grade_splits())


@pytest.fixture(scope="session")
def tiny_seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of a tiny encoder–decoder model with random, seeded weights and dropout 0.1."""
    made: dict[str, str] = {}

    def make(architecture: str) -> str:
        if architecture not in made:
            made[architecture] = tiny_seq2seq_model(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def reversals(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of texts and their words in reverse, in test with a second reference: 40 rows of train, 11, 13."""
    return write_splits(tmp_path_factory.mktemp("reversals"), reversal_splits())


@pytest.fixture(scope="session")
def relations(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of relations: 60 rows of train, 30 of validation, 30 of test."""
    return write_splits(tmp_path_factory.mktemp("relations"), relation_splits())


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of multiple choice: 60 rows of train, 30 of validation, 30 of test."""
    return write_splits(tmp_path_factory.mktemp("questions"), choice_splits())

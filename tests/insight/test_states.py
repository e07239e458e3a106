"""The pooled states of rows are means over the tokens of the backbone's last layer, whatever the task and the batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

import ftlit
from ftlit.exports.predicting.sizes import by_tokens
from ftlit.insight.drift.samples import split_rows
from ftlit.insight.states import pooled_states
from tests.support.data import sentiment_rows
from tests.support.every_task import CASES, LORA, Case, run_of
from tests.support.models import tiny_tokenizer
from tests.support.speeds import some_by_default

TEXTS = [row["text"] for row in sentiment_rows(12, 7)]
Finished = Callable[..., Path]


def states(run: Path, rows: list[Any], tokens: int = 64) -> np.ndarray:
    predictor = ftlit.load(run, device="cpu")
    return pooled_states(predictor, predictor.encode([predictor.row(i, row) for i, row in enumerate(rows)], by_tokens(tokens)))


def test_they_are_the_means_that_transformers_gives(finished: Finished) -> None:
    run = finished("Full")
    model = ftlit.load(run, device="cpu").model.backbone
    assert isinstance(model, type(AutoModel.from_config(model.config)))
    expected = []
    for text in TEXTS:
        with torch.inference_mode():
            expected.append(model(**tiny_tokenizer()(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy())
    found = states(run, TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
    np.testing.assert_allclose(states(run, TEXTS, tokens=10_000), found, atol=1e-5)


@pytest.mark.parametrize("method", some_by_default(["PromptTuning", "LoRA"], chosen=[0]))
def test_they_are_those_of_the_tuned_backbone(method: str, finished: Finished) -> None:
    """The positions of a prompt are left out; its effect is not."""
    found, plain = (states(finished(name), TEXTS) for name in (method, "Full"))
    assert found.shape == plain.shape
    assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize("case", some_by_default([(case,) for case in CASES], chosen=[6]), ids=str)
@pytest.mark.slow
def test_every_task_has_them(case: Case, tmp_path: Path) -> None:
    run = run_of(case, tmp_path, **LORA)
    predictor = ftlit.load(run, device="cpu")
    rows, _ = split_rows(predictor.data, "train", 20, 0)
    alone = [pooled_states(predictor, predictor.encode([row], by_tokens(64)))[0] for row in rows[:3]]
    found = pooled_states(predictor, predictor.encode(rows, by_tokens(64)))
    assert found.shape == (len(rows), 32)
    np.testing.assert_allclose(found[:3], alone, atol=1e-4)

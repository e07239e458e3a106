"""Dropout of a backbone, and models that change themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from ftlit.errors import UserError
from ftlit.models.backbones import load_model
from tests.support.models import ARCHITECTURES, SIZE
from tests.support.small import classifier

IDS = torch.tensor([[2, 5, 6, 7, 8, 3]])


def spread(backbone: str, **options: Any) -> float:
    """How far two passes in training mode lie apart."""
    model, _ = load_model(AutoModel, backbone, **options)
    first, second = (model(input_ids=IDS).last_hidden_state.detach() for _ in range(2))
    return float((first - second).abs().max())


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in ("modernbert", "llama")])
def test_dropout_is_as_given(tiny: Callable[[str], str], architecture: str) -> None:
    folder = tiny(architecture)
    assert spread(folder) > 0
    assert spread(folder, dropout=0.0) == 0
    assert spread(folder, dropout=0.0, pretrained=False) == 0
    model, _ = load_model(AutoModel, folder, dropout=0.5)
    shares = {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)}
    assert shares == {0.5}


def test_a_task_hands_it_on(tiny: Callable[[str], str]) -> None:
    assert classifier(tiny("bert"), dropout=0.25).model.config.hidden_dropout_prob == 0.25
    with pytest.raises(UserError, match=r"model\.dropout must be at least 0 and below 1, got 1\.5"):
        classifier(tiny("bert"), dropout=1.5)


def test_a_short_text_does_not_change_a_model(tmp_path: Path) -> None:
    config = AutoConfig.for_model("big_bird", **SIZE, vocab_size=100)
    assert config.attention_type == "block_sparse", "BigBird leaves it at the first short text, for ever"
    AutoModel.from_config(config).save_pretrained(tmp_path)
    for pretrained in (True, False):
        model, _ = load_model(AutoModel, str(tmp_path), pretrained=pretrained)
        before = [id(part) for part in model.modules()]
        model.eval()(input_ids=IDS)
        assert [id(part) for part in model.train().modules()] == before

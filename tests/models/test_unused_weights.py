"""Weights that no text reaches neither train nor stop a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from ftlit.heads import PooledHead
from ftlit.models.checks.weights import UNUSED
from ftlit.tasks import TextClassification
from ftlit.training.checks import check_gradients
from ftlit.tuning import LoRA
from tests.support.models import SIZE
from tests.support.small import classifier, ragged_batch, saved
from tests.support.speeds import some_by_default

FAMILIES: list[tuple[str, dict[str, Any], str]] = [  # a part of the names of what texts do not reach
    ("luke", {"entity_vocab_size": 5, "pad_token_id": 0}, "entity"),
    ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48}, "mask_emb"),
    ("esm", {"pad_token_id": 0}, "contact_head"),
    ("big_bird", {"pad_token_id": 0}, "pooler"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., str]:
    """Folder of a tiny model of a family."""

    def make(family: str, settings: dict[str, Any]) -> str:
        config = AutoConfig.for_model(family, vocab_size=100, **(settings if family == "xlnet" else {**SIZE, **settings}))
        AutoModel.from_config(config).save_pretrained(tmp_path)
        return str(tmp_path)

    return make


@pytest.mark.parametrize(("family", "settings", "part"), some_by_default(FAMILIES, chosen=(0, 1)))
def test_they_do_not_train(family: str, settings: dict[str, Any], part: str, folder: Callable[..., str]) -> None:
    backbone = folder(family, settings)
    for options in ({}, {"tuning": LoRA(r=2)}, {"head": PooledHead()}):
        module: TextClassification = classifier(backbone, **options)
        batch = {name: value for name, value in ragged_batch().items() if family != "xlnet" or name != "token_type_ids"}
        if family == "xlnet":
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
        module.training_step(batch, 0).backward()
        check_gradients(module)
        unused = [name for name, weight in module.named_parameters() if hasattr(weight, UNUSED)]
        assert any(part in name for name in unused) or options
        assert not any("lora" in name for name in unused)


def test_new_ones_are_the_same_each_time(folder: Callable[..., str]) -> None:
    family, settings, _ = FAMILIES[0]
    backbone = folder(family, settings)
    one, other = (classifier(backbone, seed, pretrained=False) for seed in (0, 1))
    other.on_load_checkpoint(saved(one))
    assert one.frozen_digest == other.frozen_digest

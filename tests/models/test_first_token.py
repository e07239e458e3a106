"""What a last layer computes for the first token alone is what it would compute for it among all tokens."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ftlit.heads import PooledHead, TaskHead
from ftlit.models.speed.first_token import compute_first_token_only
from ftlit.optimization.auxiliary import MaskedLMLoss
from ftlit.tuning import BottleneckAdapter, Full, LoRA, PrefixTuning, PromptTuning, TopLayers
from tests.support.small import classifier
from tests.support.tuning.life import texts

Tiny = Callable[[str], str]
TUNINGS: dict[str, Any] = {
    "full": Full(),
    "top": TopLayers(1),
    "lora": LoRA(r=2, dropout=0.0),
    "adapter": BottleneckAdapter("houlsby"),
}


def step(
    folder: str, monkeypatch: pytest.MonkeyPatch, first: bool, **options: Any
) -> tuple[Tensor, dict[str, Tensor], list[Any]]:
    """The logits, the gradients, and the shapes of what the last layer returns."""
    if not first:
        monkeypatch.setattr("ftlit.tasks.shared.building.compute_first_token_only", lambda *_: False)
    module, shapes = classifier(folder, dropout=0.0, head=TaskHead(), **options), list[Any]()
    layers = [
        part for part in module.backbone.modules() if type(part).__name__.endswith("Layer") and hasattr(part, "attention")
    ]
    layers[-1].register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    logits = module.logits(texts())
    logits.square().sum().backward()
    monkeypatch.undo()
    return logits, {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}, shapes


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("tuning", TUNINGS)
def test_logits_and_gradients_stay_the_same(
    architecture: str, tuning: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny(architecture)
    expected, gradients, whole = step(folder, monkeypatch, False, tuning=TUNINGS[tuning])
    logits, found, shapes = step(folder, monkeypatch, True, tuning=TUNINGS[tuning])
    assert (whole, shapes) == ([(4, 11, 32)], [(4, 1, 32)])
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-5)
    assert found.keys() == gradients.keys()
    for name, value in gradients.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-4)


def test_the_backbone_alone_returns_all_tokens(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), head=TaskHead())
    inputs = {name: value for name, value in texts().items() if name in ("input_ids", "attention_mask")}
    with pytest.raises(ValueError, match="batch_size"):
        module.model(**inputs, labels=torch.zeros(7).long())  # a call that fails ends the restriction, too
    assert module.backbone(**inputs).last_hidden_state.shape == (4, 11, 32)


@pytest.mark.parametrize(
    "options",
    [
        {"auxiliary": MaskedLMLoss()},
        {"tuning": PromptTuning(2)},
        {"tuning": PrefixTuning(2)},
        {"head": PooledHead()},
    ],
    ids=["auxiliary", "prompt", "prefix", "pooled"],
)
def test_where_other_tokens_are_needed(options: dict[str, Any], tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("bert"), tmp_path, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.mask_token = "word75"
    tokenizer.save_pretrained(tmp_path)
    module: Any = classifier(str(tmp_path), **{"head": TaskHead(), **options})
    assert not module.model._forward_pre_hooks


def test_models_of_other_families_and_frozen_layers_are_left_alone(tiny: Tiny) -> None:
    for architecture in ("distilbert", "mpnet", "gpt2"):
        model: Any = AutoModelForSequenceClassification.from_pretrained(tiny(architecture))
        assert not compute_first_token_only(model, model.base_model)
    model = AutoModelForSequenceClassification.from_pretrained(tiny("bert"))
    assert not compute_first_token_only(model, model.base_model.requires_grad_(False))

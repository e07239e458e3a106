"""Parameter groups, layer-wise learning rates and schedules."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import SchedulerType

from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.models.layer_depths import depths
from ftlit.optimization.optimizer import build_optimizer
from ftlit.optimization.parameter_groups import param_groups
from ftlit.optimization.schedule import SCHEDULES, build_schedule, check_lr_schedule
from ftlit.tuning import BitFit, Frozen, LoRA, PrefixTuning, PromptTuning, PTuning
from tests.support.small import classifier

Tiny = Callable[[str], str]


def optimizer_of(module: Any, **options: Any) -> torch.optim.Optimizer:
    groups = param_groups(module.model, module.backbone, **options)
    return build_optimizer(lambda params: torch.optim.AdamW(params, lr=1.0, weight_decay=0.1), groups)


def settings(module: Any, **options: Any) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each trained weight, by name."""
    names = {id(weight): name for name, weight in module.model.named_parameters()}
    groups = optimizer_of(module, **options).param_groups
    found = [(names[id(w)], (g["lr"], g["weight_decay"])) for g in groups for w in g["params"]]
    assert len(found) == len(dict(found)), "a weight is in two groups"
    return dict(found)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "llama", "gpt2"])
def test_biases_and_norms_do_not_decay(architecture: str, tiny: Tiny) -> None:
    module = classifier(tiny(architecture))
    spared = {
        f"{prefix}.{name}".removeprefix(".")
        for prefix, part in module.model.named_modules()
        for name, _ in part.named_parameters(recurse=False)
        if name == "bias" or "norm" in type(part).__name__.lower()
    }
    found = settings(module)
    assert {name for name, (_, decay) in found.items() if decay == 0} == spared
    assert {decay for _, decay in found.values()} == {0.0, 0.1}
    assert found.keys() == dict(module.model.named_parameters()).keys()
    assert {rate for rate, _ in found.values()} == {1.0}


@pytest.mark.parametrize("tuning", [Frozen(), BitFit(), LoRA(), LoRA(dora=True)])
def test_only_trained_weights_are_in_groups(tuning: Any, tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=tuning)
    assert settings(module).keys() == {name for name, weight in module.model.named_parameters() if weight.requires_grad}


def test_the_learning_rate_falls_with_depth(tiny: Tiny) -> None:
    found = settings(classifier(tiny("bert")), layer_decay=0.5, head_lr_factor=10.0)
    rates = {"embeddings": 0.125, "encoder.layer.0": 0.25, "encoder.layer.1": 0.5, "pooler": 1.0}
    for name, (rate, _) in found.items():
        expected = 10.0 if name.startswith("classifier") else next(r for p, r in rates.items() if name.startswith(f"bert.{p}"))
        assert rate == expected, name


def test_the_learning_rate_falls_with_depth_under_lora(tiny: Tiny) -> None:
    found = settings(classifier(tiny("llama"), tuning=LoRA()), layer_decay=0.5)
    rates = {".layers.0.": 0.25, ".layers.1.": 0.5, "score.": 1.0}
    for name, (rate, _) in found.items():
        assert rate == next(r for part, r in rates.items() if part in name), name


def test_a_prompt_has_the_rate_of_embeddings_and_a_prefix_the_full_one(tiny: Tiny) -> None:
    for tuning, scale in ((PromptTuning(4), 0.5**3), (PTuning(4), 0.5**3), (PrefixTuning(4), 1.0)):
        module = classifier(tiny("bert"), tuning=tuning)
        groups = param_groups(module, module.backbone, layer_decay=0.5)
        assert {group["lr_scale"] for group in groups if group["name"].startswith("backbone")} == {scale}


def test_own_heads_have_the_head_s_rate(tiny: Tiny) -> None:
    found = settings(classifier(tiny("bert"), head=PooledHead("attention")), head_lr_factor=3.0)
    assert {name for name, (rate, _) in found.items() if rate == 3.0} == {"pool.query.weight", "head.1.weight", "head.1.bias"}


DEPTHS = {
    "bert": {"embeddings.": 0, "encoder.layer.0.": 1, "encoder.layer.1.": 2, "pooler.": 3},
    "roberta": {"embeddings.": 0, "encoder.layer.0.": 1, "encoder.layer.1.": 2, "pooler.": 3},
    "distilbert": {"embeddings.": 0, "transformer.layer.0.": 1, "transformer.layer.1.": 2},
    "electra": {"embeddings": 0, "encoder.layer.0.": 1, "encoder.layer.1.": 2},
    "mpnet": {"embeddings.": 0, "encoder.layer.0.": 1, "encoder.layer.1.": 2, "encoder.relative": 0, "pooler.": 3},
    "modernbert": {"embeddings.": 0, "layers.0.": 1, "layers.1.": 2, "final_norm.": 3},
    "deberta-v2": {"embeddings.": 0, "encoder.layer.0.": 1, "encoder.layer.1.": 2, "encoder.rel": 0, "encoder.LayerNorm.": 0},
    "llama": {"embed_tokens.": 0, "layers.0.": 1, "layers.1.": 2, "norm.": 3},
    "gpt2": {"wte.": 0, "wpe.": 0, "h.0.": 1, "h.1.": 2, "ln_f.": 3},
}


@pytest.mark.parametrize("architecture", DEPTHS)
def test_depth_is_the_place_on_the_way_of_the_data(architecture: str, tiny: Tiny) -> None:
    """Relative positions are given to every layer, so they lie with the embeddings, wherever the code keeps them."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(tiny(architecture))
    config.norm_rel_ebd = "layer_norm"  # as DeBERTa v3 has it
    known = DEPTHS[architecture]
    for name, depth in depths(AutoModel.from_config(config)).items():
        assert depth == next(d for prefix, d in known.items() if name.startswith(prefix)), name


def test_no_trained_weight_is_an_error() -> None:
    with pytest.raises(UserError, match=r"no weights are trained; choose another model\.tuning"):
        build_optimizer(torch.optim.AdamW, [])


def rates(name: str, warmup: float, steps: int) -> list[float]:
    """The learning rate at each step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = build_schedule(name, optimizer, warmup, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_linear_schedule_rises_over_the_warm_up_and_falls_to_zero() -> None:
    expected = [0.0, 0.25, 0.5, 0.75, *(1 - i / 6 for i in range(6))]
    assert rates("linear", 0.4, 10) == pytest.approx(expected)


def test_warm_up_is_a_share_rounded_down() -> None:
    assert rates("constant_with_warmup", 0.29, 10)[:4] == pytest.approx([0.0, 0.5, 1.0, 1.0])
    assert rates("constant", 0.5, 3) == [1.0, 1.0, 1.0]
    assert rates("linear", 0.0, 4)[0] == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_reaches_the_full_rate_after_its_warm_up(name: str) -> None:
    found = rates(name, 0.2, 10)
    assert found[2] == pytest.approx(1.0)
    assert all(0 <= rate <= 1 for rate in found)
    assert (found[1] == pytest.approx(0.5)) is (name != "constant")


@pytest.mark.parametrize("name", sorted({kind.value for kind in SchedulerType} - set(SCHEDULES)))
def test_schedules_that_need_more_arguments_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"model\.schedule '{name}' is not known"):
        check_lr_schedule(name, 0.0)


def test_mistaken_schedules_are_named() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    with pytest.raises(UserError, match=r"model\.schedule 'cosin' is not known\. Did you mean 'cosine'"):
        build_schedule("cosin", optimizer, 0.0, 10)
    for warmup in (1.0, -0.1, 100):
        with pytest.raises(
            UserError, match=rf"model\.warmup_ratio must be a fraction of all steps, at least 0 and below 1, got {warmup}"
        ):
            build_schedule("linear", optimizer, warmup, 10)

"""Learning rates by depth and by name, whatever a tuning method makes of the backbone."""

import re
from collections.abc import Callable

import pytest

from ftlit.tuning import (
    IA3,
    AdaLoRA,
    BottleneckAdapter,
    Combined,
    GradualUnfreezing,
    HeadFirst,
    LoRA,
    PrefixTuning,
    PromptTuning,
    TopLayers,
    Tuning,
)
from tests.optimization.test_optimizer import settings
from tests.support.tuning.life import fit, texts, tuned

Tiny = Callable[[str], str]
METHODS: dict[str, Tuning] = {
    "LoRA": LoRA(r=2),
    "DoRA": LoRA(r=2, dora=True),
    "LoRA in the top layer": LoRA(r=2, layers=[1, 1]),
    "AdaLoRA": AdaLoRA(r=2, init_r=4),
    "IA3": IA3(),
    "BottleneckAdapter": BottleneckAdapter("houlsby"),
    "TopLayers": TopLayers(1),
    "GradualUnfreezing": GradualUnfreezing(),
    "HeadFirst": HeadFirst(then=LoRA(r=2)),
    "Combined": Combined([LoRA(r=2), PromptTuning(4)]),
}
# Rates under a decay of 1/2 by depth, of two layers: what is found first holds.
DEPTHS: dict[str, list[tuple[str, float]]] = {
    "bert": [(r"\.layer\.1\.", 0.5), (r"\.layer\.0\.", 0.25), (r"\.embeddings\.", 0.125), (r"pooler|prompt", 1.0)],
    "llama": [(r"\.layers\.1\.", 0.5), (r"\.layers\.0\.", 0.25), (r"\.embed_tokens\.", 0.125), (r"\.norm\.|prompt", 1.0)],
    "t5": [
        (r"\.block\.1\.", 0.5),
        (r"\.block\.0\..*relative_attention_bias", 0.25),
        (r"\.block\.0\.", 0.25),
        (r"\.shared\.", 0.125),
        (r"final_layer_norm|prompt", 1.0),
    ],
}
HEAD = r"^\.(classifier|score|classification_head)\."


@pytest.mark.parametrize("architecture", DEPTHS)
@pytest.mark.parametrize("method", METHODS)
def test_the_rate_falls_with_depth(method: str, architecture: str, folder_of: Tiny) -> None:
    found = settings(tuned(folder_of(architecture), METHODS[method]), layer_decay=0.5, head_lr_factor=10.0)
    assert len(found) > 2
    for name, (rate, _) in found.items():
        known = [(HEAD, 10.0), (r"\.prompt\.", 0.125), *DEPTHS[architecture]]
        assert rate == next(expected for pattern, expected in known if re.search(pattern, f".{name}")), name


def test_factors_by_name(tiny: Tiny) -> None:
    """LoRA+ (Hayou et al., 2024) with a decay by depth; several factors of one weight multiply."""
    factors = {r"\.lora_B\.": 16.0, r"layer\.1\..*\.query\.": 3.0}
    found = settings(tuned(tiny("bert"), LoRA(r=2)), layer_decay=0.5, lr_factors=factors)
    for name, (rate, _) in found.items():
        depth = 1.0 if name.startswith("classifier") else 0.5 if ".layer.1." in name else 0.25
        query = ".layer.1.attention.self.query" in name
        assert rate == depth * (16.0 if ".lora_B." in name else 1.0) * (3.0 if query else 1.0), name
    assert {rate for rate, _ in found.values()} == {1.0, 0.5, 0.25, 8.0, 4.0, 1.5, 24.0}


def test_factors_reach_the_optimizer_of_a_run(tiny: Tiny) -> None:
    module = tuned(tiny("bert"), LoRA(r=2), lr_factors={"lora_B": 16.0, "classifier": 0.5})
    optimizer = fit(module, [texts()]).optimizers[0]
    names = {id(weight): name for name, weight in module.named_parameters()}
    rates = {names[id(weight)]: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    for name, rate in rates.items():
        expected = 0.01 if "lora_A" in name else 0.16 if "lora_B" in name else 0.005
        assert rate == pytest.approx(expected), name


def test_weights_that_wait_have_their_rate_from_the_start(tiny: Tiny) -> None:
    """The schedule moves all rates together, so that a layer that joins late has that of its depth."""
    module = tuned(tiny("bert"), GradualUnfreezing(steps=[1]), layer_decay=0.5, schedule="linear")
    optimizer = fit(module, [texts(seed) for seed in range(4)]).optimizers[0]
    names = {id(weight): name for name, weight in module.named_parameters()}
    rates = {names[id(weight)]: group["initial_lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert {rate for name, rate in rates.items() if ".layer.1." in name} == {0.005}
    assert {rate for name, rate in rates.items() if ".layer.1." not in name} == {0.01}
    assert not any(".layer.0." in name for name in rates)


@pytest.mark.parametrize("tuning", [LoRA(r=2, dora=True), PromptTuning(4), PrefixTuning(4)])
def test_matrices_decay_and_vectors_do_not(tuning: Tuning, tiny: Tiny) -> None:
    module = tuned(tiny("bert"), tuning)
    weights = dict(module.model.named_parameters())
    found = settings(module)
    assert {name for name, (_, decay) in found.items() if decay == 0} == {name for name in found if weights[name].ndim < 2}
    assert {decay for _, decay in found.values()} == {0.0, 0.1}

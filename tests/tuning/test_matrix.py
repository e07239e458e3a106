"""Every tuning method on every architecture: what moves, what is saved, what is merged.

Gaps: BitFit needs biases, which Llama and ModernBERT do not have; it refuses them.
"""

import re
from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.optim import build_optimizer, param_groups
from ftlit.tasks import TextClassification
from ftlit.tuning import BitFit, Frozen, Full, LoRA, TopLayers, Tuning
from tests.conftest import ARCHITECTURES
from tests.small import classifier, logits_of, ragged_batch, saved

Tiny = Callable[[str], str]
METHODS: dict[str, Tuning] = {
    "Full": Full(),
    "Frozen": Frozen(),
    "TopLayers": TopLayers(1),
    "BitFit": BitFit(),
    "LoRA": LoRA(r=2),
    "DoRA": LoRA(r=2, dora=True),
    "rsLoRA": LoRA(r=2, rslora=True),
}
WITHOUT_BIASES = ("llama", "modernbert")
CASES = [(a, m) for a, m in product(ARCHITECTURES, METHODS) if not (m == "BitFit" and a in WITHOUT_BIASES)]
POOLED = [
    (a, m) for a, m in product(("bert", "modernbert", "gpt2"), ("Frozen", "TopLayers", "BitFit", "LoRA")) if (a, m) in CASES
]
# What of a backbone has the top layer, of two, as its number 1, and what follows it.
TOP = re.compile(r"(^|\.)(layer|layers|h)\.1\.|^(pooler|norm|final_norm|ln_f)\.")


def intended(module: TextClassification, method: str) -> set[str]:
    """Names of the weights that a method must move, by rules of their own."""
    rules: dict[str, Callable[[str], bool]] = {
        "Full": lambda name: True,
        "Frozen": lambda name: False,
        "TopLayers": lambda name: TOP.search(name) is not None,
        "BitFit": lambda name: name.endswith("bias"),
    }
    moves = rules.get(method, lambda name: ".lora_" in name)
    prefix = f"model.{module.model.base_model_prefix}."
    return {n for n, _ in module.named_parameters() if not n.startswith(prefix) or moves(n.removeprefix(prefix))}


def train(module: TextClassification, steps: int = 3) -> None:
    """Steps of Adam without weight decay, so that what moves has a gradient; the first must reach every trained weight."""
    groups = param_groups(module.model, module.backbone)
    optimizer = build_optimizer(lambda params: torch.optim.Adam(params, lr=1e-2), groups)
    for step in range(steps):
        module.training_step(ragged_batch(seed=step), step).backward()
        lost = [name for name, weight in module.named_parameters() if weight.requires_grad != (weight.grad is not None)]
        assert lost == [], "trained without a gradient, or frozen with one"
        optimizer.step()
        optimizer.zero_grad()


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in (*module.named_parameters(), *module.named_buffers())}


def trained(module: TextClassification) -> set[str]:
    """Names of what moved, bit by bit, in a few steps of training."""
    before = values(module)
    train(module)
    after = values(module)
    assert before.keys() == after.keys()
    assert all(torch.isfinite(value).all() for value in after.values() if value.is_floating_point())
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def merged(module: TextClassification) -> nn.Module:
    """The model with its tuning merged in."""
    module.eval()
    setattr(module.model, module.model.base_model_prefix, module.tuning.merge(module.backbone))
    return module.model


def check_life(build: Callable[[int], TextClassification], method: str) -> TextClassification:
    """Train, save and load a module.

    Args:
        build: Builds it with fresh weights of a seed.
        method: Name of its tuning method.
    """
    module = build(0)
    expected = intended(module, method)
    assert trained(module) == expected
    checkpoint = saved(module)
    assert checkpoint["state_dict"].keys() == expected
    again = build(1)
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    batch = ragged_batch(seed=9)
    assert torch.equal(logits_of(again, batch), logits_of(module, batch))
    return module


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_moved_saved_merged(architecture: str, method: str, tiny: Tiny) -> None:
    module = check_life(lambda seed: classifier(tiny(architecture), seed, tuning=METHODS[method]), method)
    batch = ragged_batch(seed=9)
    logits = logits_of(module, batch)
    plain = AutoModelForSequenceClassification.from_config(module.model.config).eval()
    plain.load_state_dict(merged(module).state_dict())  # every name is the plain model's
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        torch.testing.assert_close(plain(**inputs).logits, logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("architecture", "method"), POOLED)
def test_moved_saved_merged_with_an_own_head(architecture: str, method: str, tiny: Tiny) -> None:
    head = PooledHead("attention", layers=2)
    module = check_life(lambda seed: classifier(tiny(architecture), seed, tuning=METHODS[method], head=head), method)
    batch = ragged_batch(seed=9)
    logits = logits_of(module, batch)
    merged(module)
    assert not any("lora" in name for name, _ in module.named_modules())
    torch.testing.assert_close(logits_of(module, batch), logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", WITHOUT_BIASES)
def test_bit_fit_refuses_a_backbone_without_biases(architecture: str, tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"BitFit needs biases, and \w+Model has none; use LoRA or TopLayers"):
        classifier(tiny(architecture), tuning=BitFit())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lora_reaches_every_linear_layer_but_the_pooler(architecture: str, tiny: Tiny) -> None:
    def linear(module: TextClassification) -> Iterator[str]:
        for name, part in module.backbone.named_modules():
            if type(part).__name__ in ("Linear", "Conv1D") and "lora_" not in name and "pooler" not in name:
                yield name.removeprefix("base_model.model.").removesuffix(".base_layer")

    tuned = classifier(tiny(architecture), tuning=LoRA())
    wrapped = {name.split(".lora_A")[0] for name, _ in tuned.backbone.named_parameters() if ".lora_A" in name}
    expected = set(linear(classifier(tiny(architecture))))
    assert {name.removeprefix("base_model.model.") for name in wrapped} == expected == set(linear(tuned))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_begins_at_the_pretrained_model(method: str, tiny: Tiny) -> None:
    batch = ragged_batch()
    expected = logits_of(classifier(tiny("bert")), batch)
    torch.testing.assert_close(logits_of(classifier(tiny("bert"), tuning=METHODS[method]), batch), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_dropout_is_off_in_a_frozen_backbone_alone(method: str, tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=METHODS[method])
    assert {part.training for part in module.backbone.modules()} == {method != "Frozen"}
    assert module.model.classifier.training


@pytest.fixture(scope="module")
def without_pooler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT whose files lack the pooler, as those of a masked language model do."""
    folder = tmp_path_factory.mktemp("without_pooler")
    config = BertConfig(vocab_size=100, max_position_embeddings=64, **ARCHITECTURES["bert"])  # type: ignore[arg-type]
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("method", ["Frozen", "BitFit", "LoRA"])
def test_weights_that_the_files_lack_train_and_are_saved(method: str, without_pooler: str) -> None:
    def build(seed: int) -> TextClassification:
        return classifier(without_pooler, seed, tuning=METHODS[method])

    module = build(0)
    pooler = {name for name, _ in module.named_parameters() if "pooler" in name}
    assert len(pooler) == 2
    expected = intended(module, method) | pooler
    assert trained(module) == expected
    checkpoint = saved(module)
    assert checkpoint["state_dict"].keys() == expected
    again = build(1)
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    assert torch.equal(logits_of(again, ragged_batch()), logits_of(module, ragged_batch()))


@pytest.mark.parametrize("k", [0, 2])
def test_top_layers_count_from_the_top(k: int, tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=TopLayers(k))
    layers = {name.split(".")[4] for name, w in module.named_parameters() if ".layer." in name and w.requires_grad}
    assert layers == set("01"[2 - k :])
    assert not module.backbone.embeddings.word_embeddings.weight.requires_grad
    assert module.backbone.pooler.dense.weight.requires_grad


def test_more_top_layers_than_there_are(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"model\.tuning\.k is 3, but BertModel has 2 layers"):
        classifier(tiny("bert"), tuning=TopLayers(3))


def test_unknown_targets_are_named(tiny: Tiny) -> None:
    with pytest.raises(
        UserError, match=r"model\.tuning\.targets \['q_proj'\] are not in BertModel; its linear layers end in dense, key"
    ):
        classifier(tiny("bert"), tuning=LoRA(targets=["query", "q_proj"]))
    with pytest.raises(UserError, match=r"model\.tuning\.r must be at least 1, got 0"):
        LoRA(r=0)

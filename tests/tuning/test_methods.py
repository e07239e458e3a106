"""What methods change and what they leave, beside the matrix: layers, parts of layers, several methods together."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModel
from transformers.pytorch_utils import Conv1D

from ftlit.errors import UserError
from ftlit.exports.adapters import save_adapter
from ftlit.runs.exported import load_adapter, plain_name
from ftlit.tasks import TextClassification
from ftlit.tuning import (
    IA3,
    AdaLoRA,
    BitFit,
    BottleneckAdapter,
    Combined,
    Full,
    HeadFirst,
    LayerNormTuning,
    LoRA,
    Select,
    TopLayers,
    Tuning,
)
from ftlit.tuning.bottleneck import Location
from ftlit.tuning.layers import linear_layers
from tests.support.small import logits_of
from tests.support.tuning.life import check_life, fit, moved, texts, tuned, values
from tests.support.tuning.methods import ARCHITECTURES, NORMS

Tiny = Callable[[str], str]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lora_reaches_every_linear_layer_but_the_pooler(architecture: str, folder_of: Tiny) -> None:
    def linear(module: TextClassification) -> Iterator[str]:
        for name, part in module.backbone.named_modules():
            if isinstance(part, nn.Linear | Conv1D) and "lora_" not in name and "pooler" not in name:
                yield name.removeprefix("base_model.model.").removesuffix(".base_layer")

    tuned_one = tuned(folder_of(architecture), LoRA())
    wrapped = {name.split(".lora_A")[0] for name, _ in tuned_one.backbone.named_parameters() if ".lora_A" in name}
    expected = set(linear(tuned(folder_of(architecture), Full())))
    assert {name.removeprefix("base_model.model.") for name in wrapped} == expected == set(linear(tuned_one))


# The layers of one block after which bottlenecks stand, and those that IA3 scales, as their papers have them.
ATTENTION = {
    "bert": "attention.output.dense",
    "distilbert": "attention.out_lin",
    "modernbert": "attn.Wo",
    "mpnet": "attention.attn.o",
    "llama": "self_attn.o_proj",
    "gpt2": "attn.c_proj",
    "t5": "SelfAttention.o EncDecAttention.o",
}
FEEDFORWARD = {
    "bert": "output.dense",
    "distilbert": "ffn.lin2",
    "modernbert": "mlp.Wo",
    "mpnet": "output.dense",
    "llama": "mlp.down_proj",
    "gpt2": "mlp.c_proj",
    "t5": "DenseReluDense.wo",
}
KEYS_VALUES = {
    "bert": "attention.self.key attention.self.value",
    "deberta-v2": "attention.self.key_proj attention.self.value_proj",
    "distilbert": "attention.k_lin attention.v_lin",
    "modernbert": "attn.Wqkv",
    "mpnet": "attention.attn.k attention.attn.v",
    "llama": "self_attn.k_proj self_attn.v_proj",
    "gpt2": "attn.c_attn",
    "t5": "SelfAttention.k SelfAttention.v EncDecAttention.k EncDecAttention.v",
}
BLOCK = re.compile(r"^(?:encoder\.|decoder\.|transformer\.)?(?:layers?|h|block)\.\d+\.(?:layer\.\d\.)?")


def of_blocks(names: set[str]) -> set[str]:
    """Names inside a block, without its number; each must be inside one."""
    assert all(BLOCK.match(name) for name in names), names
    return {BLOCK.sub("", name) for name in names}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("tuning", "locations"),
    [
        (BottleneckAdapter("houlsby"), ("attention", "feedforward")),
        (BottleneckAdapter("pfeiffer"), ("feedforward",)),
        (BottleneckAdapter(locations=["attention"]), ("attention",)),
    ],
    ids=["houlsby", "pfeiffer", "attention"],
)
def test_bottlenecks_stand_after_attention_and_feed_forward_parts(
    tuning: Tuning, locations: tuple[Location, ...], architecture: str, folder_of: Tiny
) -> None:
    module = tuned(folder_of(architecture), tuning)
    found = {name.removesuffix(".adapter") for name, _ in module.backbone.named_modules() if name.endswith(".adapter")}
    likes_bert = architecture if architecture in ATTENTION else "bert"
    tables = {"attention": ATTENTION, "feedforward": FEEDFORWARD}
    assert of_blocks(found) == {name for location in locations for name in tables[location][likes_bert].split()}
    blocks = 4 if architecture == "t5" else 2
    decoder = 2 if architecture == "t5" and "attention" in locations else 0  # which attends to the encoder too
    assert len(found) == blocks * len(locations) + decoder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ia3_scales_keys_values_and_inner_activations(architecture: str, folder_of: Tiny) -> None:
    module = tuned(folder_of(architecture), IA3())
    found = {
        name.removeprefix("base_model.model.").split(".ia3_l")[0]: weight.shape
        for name, weight in module.backbone.named_parameters()
        if ".ia3_l" in name
    }
    expected = KEYS_VALUES.get(architecture, KEYS_VALUES["bert"]) + " " + FEEDFORWARD.get(architecture, FEEDFORWARD["bert"])
    assert of_blocks(set(found)) == set(expected.split())
    for name, shape in found.items():  # factors of what a layer gives, or of what it takes: its inner activations
        inner = BLOCK.sub("", name) == FEEDFORWARD.get(architecture, FEEDFORWARD["bert"])
        assert sorted(shape) == [1, 48 if inner else {"gpt2": 96, "modernbert": 96}.get(architecture, 32)], name


def test_bottlenecks_change_nothing_at_the_start(tiny: Tiny) -> None:
    plain, module = tuned(tiny("bert"), Full()), tuned(tiny("bert"), BottleneckAdapter("houlsby"))
    torch.testing.assert_close(logits_of(module, texts()), logits_of(plain, texts()), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("layers", "blocks"), [([0, 0], {"0"}), ([1, 1], {"1"}), ([0, 1], {"0", "1"}), (None, {"0", "1"})])
def test_lora_in_a_range_of_layers(layers: list[int] | None, blocks: set[str], tiny: Tiny) -> None:
    module = tuned(tiny("bert"), LoRA(targets=["query", r".*\.intermediate\.dense"], layers=layers))
    found = {name.split(".lora_A")[0] for name, _ in module.backbone.named_parameters() if ".lora_A" in name}
    ends = ("attention.self.query", "intermediate.dense")
    assert found == {f"base_model.model.encoder.layer.{block}.{end}" for block in blocks for end in ends}


@pytest.mark.parametrize("k", [0, 2])
def test_top_layers_count_from_the_top(k: int, tiny: Tiny) -> None:
    module = tuned(tiny("bert"), TopLayers(k))
    layers = {name.split(".")[4] for name, w in module.named_parameters() if ".layer." in name and w.requires_grad}
    assert layers == set("01"[2 - k :])
    assert not module.backbone.embeddings.word_embeddings.weight.requires_grad
    assert module.backbone.pooler.dense.weight.requires_grad


@pytest.mark.parametrize("tuning", [BitFit(embeddings=True), TopLayers(1, embeddings=True), Select("query", embeddings=True)])
def test_embeddings_beside_a_method(tuning: Tuning, tiny: Tiny) -> None:
    module, without = tuned(tiny("bert"), tuning), tuned(tiny("bert"), type(tuning)(**{**vars(tuning), "embeddings": None}))
    names = {f"model.bert.embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")}
    found, fewer = ({name for name, weight in m.named_parameters() if weight.requires_grad} for m in (module, without))
    assert found - fewer == names
    assert fewer < found


TOGETHER: dict[str, tuple[Combined, Callable[[str], bool]]] = {
    "BitFit, LayerNormTuning": (
        Combined([BitFit(), LayerNormTuning()]),
        lambda name: name.endswith("bias") or NORMS.search(name) is not None,
    ),
    "LoRA, LayerNormTuning, BitFit": (
        Combined([LoRA(r=2), LayerNormTuning(), BitFit()]),
        lambda name: ".lora_" in name or name.endswith("bias") or NORMS.search(name) is not None,
    ),
    "LoRA, BottleneckAdapter": (
        Combined([LoRA(r=2), BottleneckAdapter()]),
        lambda name: ".lora_" in name or ".adapter." in name,
    ),
    "LoRA, Select": (Combined([LoRA(r=2), Select("word_emb")]), lambda name: ".lora_" in name or "word_emb" in name),
}


@pytest.mark.parametrize("together", TOGETHER)
def test_methods_together_train_what_each_trains(together: str, tiny: Tiny) -> None:
    tuning, moves = TOGETHER[together]
    check_life(lambda seed: tuned(tiny("bert"), tuning, seed), moves)


def test_lora_changes_no_bottleneck(tiny: Tiny) -> None:
    module = tuned(tiny("bert"), Combined([LoRA(r=2), BottleneckAdapter()]))
    changed = {name.split(".lora_A")[0] for name, _ in module.named_parameters() if ".lora_A" in name}
    assert len(changed) == 12
    assert not any("adapter" in name for name in changed)
    with pytest.raises(UserError, match="BottleneckAdapter cannot be merged into the backbone"):
        module.tuning.merge(module.backbone)


def test_heads_of_encoders_and_decoders_are_no_layers_of_the_backbone() -> None:
    from transformers import T5Config, T5ForQuestionAnswering

    with torch.device("meta"):
        model = T5ForQuestionAnswering(T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2, vocab_size=100))
    assert isinstance(model.qa_outputs, nn.Linear)
    assert "qa_outputs" not in linear_layers(model)
    assert len(linear_layers(model)) == 4 + 2 + 8 + 2


def test_olora_and_pissa_begin_inside_the_weights(tiny: Tiny) -> None:
    """What they take out of the frozen weights is not lost, and trains."""
    plain = tuned(tiny("bert"), Full()).backbone.encoder.layer[0].attention.self.query.weight
    for init in ("pissa", "olora"):
        module = tuned(tiny("bert"), LoRA(r=4, init=init))  # type: ignore[arg-type]
        layer = module.backbone.base_model.model.encoder.layer[0].attention.self.query
        assert not torch.allclose(layer.base_layer.weight, plain, atol=1e-3)
        torch.testing.assert_close(layer.base_layer.weight + layer.get_delta_weight("default"), plain, atol=1e-6, rtol=0)
        before = values(module)
        fit(module)
        assert len(moved(before, module)) == 24 + 2


LOWRANK = [
    LoRA(r=4, init="pissa", alpha=3),
    *(
        pytest.param(method, marks=pytest.mark.matrix)
        for method in (
            LoRA(r=2, init="olora"),
            LoRA(r=4, init="pissa", rslora=True),
            LoRA(r=2, init="pissa", dora=True),
            HeadFirst(steps=1, then=LoRA(r=2, init="pissa")),
            Combined([LoRA(r=2, init="pissa"), LayerNormTuning()]),
        )
    ),
]


@pytest.mark.parametrize("method", LOWRANK, ids=str)
def test_an_adapter_that_began_inside_the_weights_is_saved_as_their_change(method: Tuning, tiny: Tiny, tmp_path: Path) -> None:
    """What peft opens, and what `as_exported` makes, are added to the pretrained weights, and give the same hidden states."""
    module = tuned(tiny("bert"), method)
    fit(module)
    save_adapter(module, tmp_path)
    pretrained = AutoModel.from_pretrained(tiny("bert"))
    opened: Any = PeftModel.from_pretrained(copy.deepcopy(pretrained), str(tmp_path))
    frozen = {plain_name(name): weight for name, weight in opened.state_dict().items() if "lora_" not in name}
    assert all(torch.equal(weight, frozen[name]) for name, weight in pretrained.state_dict().items())
    loaded, merged = tuned(tiny("bert"), method.as_exported()), method.merge(module.backbone).state_dict()
    load_adapter(loaded, tmp_path)
    for found in (opened.merge_and_unload(), method.as_exported().merge(loaded.backbone)):
        for name, weight in found.state_dict().items():
            if "LayerNorm" not in name and "pooler" not in name:
                torch.testing.assert_close(weight, merged[name], atol=2e-6, rtol=0)


def test_adalora_takes_steps_or_a_fraction_of_them(tiny: Callable[[str], str]) -> None:
    for given in ({"tinit": 0.2, "tfinal": 0.3}, {"tinit": 4, "tfinal": 6}, {"tinit": 0.2, "tfinal": 6}):
        module = tuned(tiny("bert"), AdaLoRA(r=2, init_r=4, deltaT=5, **given))
        module.tuning.begin(module.backbone, 20)
        config = module.backbone.peft_config["default"]
        assert (config.tinit, config.tfinal, config.deltaT, config.total_step) == (4, 6, 5, 20)

"""Mistaken settings of tuning methods: refused with a sentence, before any weight of the backbone is loaded."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import FNetConfig, FNetModel, PreTrainedModel

from ftlit.errors import UserError
from ftlit.optimization.parameter_groups import param_groups
from ftlit.tuning import (
    IA3,
    AdaLoRA,
    BitFit,
    BottleneckAdapter,
    Combined,
    Frozen,
    Full,
    GradualUnfreezing,
    HeadFirst,
    LoRA,
    Peft,
    PrefixTuning,
    PromptTuning,
    PTuning,
    QLoRA,
    Select,
    TopLayers,
    Tuning,
)
from tests.support.tuning.life import fit, texts, tuned
from tests.support.tuning.methods import GAPS, METHODS

Tiny = Callable[[str], str]
VALUES: list[tuple[Callable[[], Tuning], str]] = [  # what is wrong with whatever backbone
    (lambda: LoRA(r=0), "model.tuning.r must be at least 1, got 0"),
    (lambda: LoRA(dropout=1.0), "model.tuning.dropout must be at least 0 and below 1, got 1.0"),
    (lambda: AdaLoRA(r=12), "model.tuning.r must be below init_r (12), got 12"),
    (lambda: AdaLoRA(r=0), "model.tuning.r must be at least 1, got 0"),
    (
        lambda: AdaLoRA(tinit=0.5, tfinal=0.5),
        "model.tuning.tinit and tfinal must add up to less than 1, so that ranks are reduced between them, got 0.5 and 0.5",
    ),
    (lambda: AdaLoRA(tinit=-1), "model.tuning.tinit must be at least 0, got -1"),
    (lambda: AdaLoRA(tfinal=1.5), "model.tuning.tfinal must be a number of optimizer steps or a fraction below 1, got 1.5"),
    (lambda: AdaLoRA(deltaT=0), "model.tuning.deltaT must be at least 1, got 0"),
    (lambda: AdaLoRA(dropout=1.5), "model.tuning.dropout must be at least 0 and below 1, got 1.5"),
    (lambda: AdaLoRA(orthogonality=-1.0), "model.tuning.orthogonality must be at least 0, got -1.0"),
    (lambda: Select([]), "model.tuning.pattern is empty; set one or several regular expressions"),
    (lambda: Select(""), "model.tuning.pattern is empty; set one or several regular expressions"),
    (lambda: Select("layer("), "model.tuning.pattern 'layer(' is not a valid regular expression: missing )"),
    (lambda: Peft("VERRA"), "model.tuning.method 'VERRA' is not a peft method. Did you mean 'VERA'?"),
    (
        lambda: Peft("VERA", {"target_module": "query"}),
        "VeraConfig has no argument 'target_module' (model.tuning.arguments). Did you mean 'target_modules'?",
    ),
    (lambda: BottleneckAdapter(reduction=0), "model.tuning.reduction must be at least 1, got 0"),
    (lambda: BottleneckAdapter(activation="gellu"), "model.tuning.activation 'gellu' is not known. Did you mean 'gelu'?"),
    (lambda: BottleneckAdapter(locations=[]), "model.tuning.locations is empty; name attention, feedforward or both"),
    (lambda: PromptTuning(0), "model.tuning.tokens must be at least 1, got 0"),
    (lambda: PTuning(-1), "model.tuning.tokens must be at least 1, got -1"),
    (lambda: PTuning(width=0), "model.tuning.width must be at least 1, got 0"),
    (lambda: PrefixTuning(width=0), "model.tuning.width must be at least 1, got 0"),
    (lambda: PromptTuning(init="text"), "model.tuning.init is 'text' and model.tuning.text is None: set text if and only if"),
    (
        lambda: PromptTuning(text="good"),
        "model.tuning.init is 'vocabulary' and model.tuning.text is 'good': set text if and only if",
    ),
    (lambda: TopLayers(-1), "model.tuning.k must be at least 0, got -1"),
    (lambda: GradualUnfreezing(epochs=0), "model.tuning.epochs must be at least 1, got 0"),
    (lambda: GradualUnfreezing(steps=[]), "model.tuning.steps must be increasing optimizer steps, got []"),
    (lambda: GradualUnfreezing(steps=[3, 2]), "model.tuning.steps must be increasing optimizer steps, got [3, 2]"),
    (lambda: GradualUnfreezing(steps=[2, 2]), "model.tuning.steps must be increasing optimizer steps, got [2, 2]"),
    (lambda: GradualUnfreezing(steps=[-1, 2]), "model.tuning.steps must be at least 0, got [-1, 2]"),
    (lambda: HeadFirst(epochs=0), "model.tuning.epochs must be at least 1, got 0"),
    (lambda: HeadFirst(steps=0), "model.tuning.steps must be at least 1, got 0"),
    (lambda: HeadFirst(then=PTuning()), "model.tuning.then cannot be PTuning; use for example Full, TopLayers or LoRA"),
    (lambda: HeadFirst(then=HeadFirst()), "model.tuning.then cannot be HeadFirst; use for example Full, TopLayers or LoRA"),
    (lambda: HeadFirst(then=AdaLoRA()), "model.tuning.then cannot be AdaLoRA; use for example Full, TopLayers or LoRA"),
    (lambda: HeadFirst(then=Combined([AdaLoRA(), BitFit()])), "model.tuning.then cannot be AdaLoRA; use for example Full"),
    (lambda: Combined([LoRA()]), "model.tuning.methods needs at least two methods, got ['LoRA']"),
    (lambda: Combined([LoRA(), IA3()]), "model.tuning.methods ['LoRA', 'IA3'] has two peft methods; keep one of them"),
    (
        lambda: Combined([PTuning(), BitFit(), PrefixTuning()]),
        "model.tuning.methods ['PTuning', 'BitFit', 'PrefixTuning'] has two prompt methods; keep one of them",
    ),
    (lambda: Combined([LoRA(), Full()]), "['LoRA', 'Full']: Full adds nothing to another method; remove it"),
    (lambda: Combined([Frozen(), LoRA()]), "['Frozen', 'LoRA']: Frozen adds nothing to another method; remove it"),
    (
        lambda: Combined([LoRA(), HeadFirst()]),
        "['LoRA', 'HeadFirst']: a method with stages cannot be combined; HeadFirst takes another method as",
    ),
]
BACKBONES: list[tuple[Tuning, str]] = [  # what does not fit BERT of two layers and 64 positions
    (
        LoRA(targets=["query", "q_proj"]),
        "model.tuning.targets ['q_proj'] are not in BertModel; its linear layers end in dense, key, query, value",
    ),
    (LoRA(targets=[]), "model.tuning.targets [] are not in BertModel; its linear layers end in dense, key, query, value"),
    (AdaLoRA(targets="q_proj"), "model.tuning.targets ['q_proj'] are not in BertModel"),
    (IA3(targets="q_proj"), "model.tuning.targets ['q_proj'] are not in BertModel"),
    *(
        (
            kind(layers=given),
            f"model.tuning.layers should be the first and the last layer, from 0 to 1 in BertModel, got {given}",
        )
        for kind in (LoRA, AdaLoRA)
        for given in ([0, 2], [1], [1, 0], [-1, 1])
    ),
    (
        LoRA(targets=["layer.1.output.dense"], layers=[0, 0]),
        "model.tuning.targets matches no layer of BertModel within layers [0, 0]",
    ),
    (IA3(targets="key", feedforward="key"), "model.tuning.targets and feedforward both name encoder.layer.0"),
    (TopLayers(3), "model.tuning.k is 3, but BertModel has 2 layers"),
    (Select("quary"), "model.tuning.pattern 'quary' matches no weight of BertModel. Did you mean 'query'?"),
    (Select(["query", "layer.7"]), "model.tuning.pattern 'layer.7' matches no weight of BertModel."),
    (
        GradualUnfreezing(steps=[1, 2, 3, 4]),
        "model.tuning.steps has 4 steps, but BertModel has only 2 layers and its embeddings to unfreeze",
    ),
    (HeadFirst(then=TopLayers(3)), "model.tuning.k is 3, but BertModel has 2 layers"),
    (Combined([BitFit(), LoRA(layers=[2, 2])]), "model.tuning.layers should be the first and the last layer, from 0 to 1"),
    (
        PromptTuning(62),
        "model.tuning.tokens is 62, but BertModel has only 64 positions for the prompt and the text together; lower it",
    ),
    (Peft("PROMPT_TUNING"), "model.tuning.method PROMPT_TUNING modifies no layers; use PromptTuning, PTuning or PrefixTuning"),
    (
        Peft("OFT", {"r": 4, "oft_block_size": 4}),
        "peft does not accept model.tuning.arguments of OFT: You can only specify either r",
    ),
]


@pytest.mark.parametrize(("make", "says"), VALUES, ids=[says for _, says in VALUES])
def test_values_that_cannot_be(make: Callable[[], Tuning], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        make()


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", loads)


@pytest.mark.usefixtures("nothing_is_loaded")
class TestBeforeAnyWeightIsLoaded:
    @pytest.mark.parametrize(("tuning", "says"), BACKBONES, ids=[says for _, says in BACKBONES])
    def test_settings_that_do_not_fit(self, tuning: Tuning, says: str, tiny: Tiny) -> None:
        with pytest.raises(UserError, match=re.escape(says)):
            tuned(tiny("bert"), tuning)

    @pytest.mark.parametrize(("method", "architecture"), GAPS)
    def test_methods_that_do_not_fit(self, method: str, architecture: str, folder_of: Tiny) -> None:
        with pytest.raises(UserError, match=GAPS[method, architecture].says):
            tuned(folder_of(architecture), METHODS[method].tuning)

    def test_that_would_notice(self, tiny: Tiny) -> None:
        with pytest.raises(AssertionError, match="weights are loaded"):
            tuned(tiny("bert"), LoRA())


def test_qlora_needs_bitsandbytes(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    monkeypatch.setattr(util, "find_spec", lambda name: None)
    says = (
        r"QLoRA quantizes the backbone to 4 bits with bitsandbytes, which is not installed: run "
        r'pip install "ftlit\[quantized\]", or use LoRA'
    )
    with pytest.raises(UserError, match=says):
        tuned(tiny("bert"), QLoRA(r=2))


def test_layers_of_unknown_names() -> None:
    with torch.device("meta"):
        backbone = FNetModel(FNetConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=48, vocab_size=100))
    with pytest.raises(UserError, match=r"IA3 does not know which layers of FNetModel are its key value; .* end in dense"):
        IA3().check(backbone)
    with pytest.raises(UserError, match=r"BottleneckAdapter does not know which layers of FNetModel are its attention output"):
        BottleneckAdapter("houlsby").check(backbone)


def test_targets_that_peft_does_not_find(tiny: Tiny) -> None:
    says = (
        r"peft cannot apply VERA to BertModel: No layers .* \(choose layers with target_modules in model\.tuning\.arguments\)"
    )
    with pytest.raises(UserError, match=says):
        tuned(tiny("bert"), Peft("VERA", {"target_modules": ["q_proj"]}))


@pytest.mark.parametrize("tuning", [AdaLoRA(), LoRA()])
def test_a_run_without_end(tuning: Tuning, tiny: Tiny) -> None:
    says = r"the number of optimizer steps is unknown, but model\.schedule and some model\.tuning methods depend on it"
    with pytest.raises(UserError, match=says):
        fit(tuned(tiny("bert"), tuning), [texts()], max_epochs=-1, max_steps=-1)


@pytest.mark.parametrize(
    ("tuning", "says"),
    [
        (
            GradualUnfreezing(steps=[1, 3]),
            r"tuning\.steps \[1, 3\] exceed the length of the run, which has 3 optimizer steps",
        ),
        (HeadFirst(steps=3), r"tuning\.steps \[3\] exceed the length of the run, which has 3 optimizer steps"),
        (HeadFirst(), r"tuning\.epochs is 1, but trainer\.max_epochs is not higher, so that no layer would ever train"),
        (GradualUnfreezing(epochs=2), r"tuning\.epochs is 2, but trainer\.max_epochs is not higher, so that no layer would"),
        (AdaLoRA(tinit=2, tfinal=1), r"tuning\.tinit and tfinal take 2 and 1 of the run's 3 optimizer steps, so that ranks"),
        (
            Combined([AdaLoRA(tinit=0.4, tfinal=2), BitFit()]),
            r"tuning\.tinit and tfinal take 1 and 2 of the run's 3 optimizer steps",
        ),
    ],
)
def test_schedules_longer_than_the_run(tuning: Tuning, says: str, tiny: Tiny) -> None:
    with pytest.raises(UserError, match=says):
        fit(tuned(tiny("bert"), tuning), max_epochs=1, max_steps=-1)
    fit(tuned(tiny("bert"), tuning), fast_dev_run=True)


def test_factors_of_learning_rates_that_find_nothing(tiny: Tiny) -> None:
    module = tuned(tiny("bert"), LoRA())
    with pytest.raises(UserError, match=r"model\.lr_factors: 'lora_C' matches no trained weight"):
        param_groups(module, module.backbone, lr_factors={"lora_B": 2.0, "lora_C": 16.0})
    with pytest.raises(UserError, match=r"model\.lr_factors: 'embeddings' matches no trained weight"):
        param_groups(module, module.backbone, lr_factors={"embeddings": 0.5})
    with pytest.raises(UserError, match=r"model\.lr_factors: 'lora_\(' is not a valid regular expression"):
        param_groups(module, module.backbone, lr_factors={"lora_(": 0.5})

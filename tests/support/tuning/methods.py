"""Every tuning method as the tests know it: what it must train, whether it merges, and where it does not fit and why."""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest

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
    LayerNormTuning,
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

Rule = Callable[[str], bool]  # tells of a weight's name in the tuned backbone whether it must train
# The top layer of two, and what follows it; in T5 of both stacks.
TOP = re.compile(r"(^|\.)(layer|layers|h|block)\.1\.|^(pooler|norm|final_norm|ln_f)\.|^(encoder|decoder)\.final_layer_norm")
T5_TOP = re.compile(r"^(encoder|decoder)\.(block\.1|final_layer_norm)\.")
TABLES = re.compile(
    r"(word|position|token_type)_embeddings\.|tok_embeddings|embed_tokens|wte|wpe|rel_embeddings|shared|_bias\.w"
)
NORMS = re.compile(r"(norm|ln_\w+)\.(weight|bias)$", re.IGNORECASE)


def top(name: str) -> bool:
    """Whether a weight is in the top layer of two, or behind it."""
    found = T5_TOP if ".block." in name or name.startswith(("encoder.final", "decoder.final")) else TOP
    return found.search(name) is not None


def bottom(name: str) -> bool:
    """Whether a weight is in the first layer: the first number in its name is 0."""
    return [part for part in name.split(".") if part.isdecimal()][:1] == ["0"]


def has(*parts: str) -> Rule:
    """Whether one of some parts is in a name."""
    return lambda name: any(part in name for part in parts)


@dataclass(frozen=True)
class Method:
    """A tuning method, the rule of what it trains, and whether it merges into the backbone."""

    tuning: Tuning
    moves: Rule
    merges: bool = True


def peft(kind: str, *parts: str, merges: bool = True, **arguments: object) -> Method:
    return Method(Peft(kind, arguments), has(*parts), merges)


PROMPT = {"moves": has("prompt."), "merges": False}
METHODS: dict[str, Method] = {
    "Full": Method(Full(), lambda name: True),
    "Full-embeddings": Method(Full(embeddings=False), lambda name: not TABLES.search(name)),
    "Frozen": Method(Frozen(), lambda name: False),
    "TopLayers": Method(TopLayers(1), top),
    "Select": Method(Select(r"^(\w+\.)?(layer|layers|h|block)\.0\."), bottom),
    "BitFit": Method(BitFit(), lambda name: name.endswith("bias")),
    "LayerNormTuning": Method(LayerNormTuning(), lambda name: NORMS.search(name) is not None),
    "LoRA": Method(LoRA(r=2), has(".lora_")),
    "DoRA": Method(LoRA(r=2, dora=True), has(".lora_")),
    "rsLoRA": Method(LoRA(r=2, rslora=True), has(".lora_")),
    "PiSSA": Method(LoRA(r=2, init="pissa"), has(".lora_")),
    "OLoRA": Method(LoRA(r=2, init="olora"), has(".lora_")),
    "LoRA-layer": Method(LoRA(r=2, layers=[1, 1]), lambda name: ".lora_" in name and not bottom(name)),
    "AdaLoRA": Method(AdaLoRA(r=2, init_r=4), has(".lora_")),
    "IA3": Method(IA3(), has(".ia3_l")),
    "Houlsby": Method(BottleneckAdapter("houlsby", 4), has(".adapter."), False),
    "Pfeiffer": Method(BottleneckAdapter("pfeiffer", 4), has(".adapter."), False),
    "PromptTuning": Method(PromptTuning(4), **PROMPT),
    "PromptTuning-text": Method(PromptTuning(4, "text", "good word1"), **PROMPT),
    "PromptTuning-random": Method(PromptTuning(4, "random"), **PROMPT),
    "PTuning": Method(PTuning(4), **PROMPT),
    "PTuning-lstm": Method(PTuning(4, "lstm", 8), **PROMPT),
    "PrefixTuning": Method(PrefixTuning(4), **PROMPT),
    "PrefixTuning-projection": Method(PrefixTuning(4, projection=True, width=8), **PROMPT),
    "GradualUnfreezing": Method(GradualUnfreezing(steps=[1]), top),
    "HeadFirst": Method(HeadFirst(steps=1), lambda name: True),
    "HeadFirst-LoRA": Method(HeadFirst(steps=1, then=LoRA(r=2)), has(".lora_")),
    "LoRA+BitFit": Method(Combined([LoRA(r=2), BitFit()]), lambda name: ".lora_" in name or name.endswith("bias")),
    "LoRA+PromptTuning": Method(Combined([LoRA(r=2), PromptTuning(4)]), has(".lora_", "prompt."), False),
    "VeRA": peft("VERA", ".vera_lambda_", r=4),
    "LoHa": peft("LOHA", ".hada_", r=2),
    "LoKr": peft("LOKR", ".lokr_", r=2),
    "OFT": peft("OFT", ".oft_R", r=0, oft_block_size=8),
    "BOFT": peft("BOFT", ".boft_R", ".boft_s", boft_block_size=4),
    "HRA": peft("HRA", ".hra_u", r=2),
    "FourierFT": peft("FOURIERFT", ".fourierft_spectrum", n_frequency=20, init_weights=True),
    "QLoRA": Method(QLoRA(r=2), has(".lora_"), False),
}

ARCHITECTURES = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert", "mpnet", "llama", "gpt2", "t5")


@dataclass(frozen=True)
class Gap:
    """Why a combination is not supported, and a regular expression that matches the error."""

    because: str
    says: str


NO_BIASES = Gap("it has no biases", r"BitFit trains biases, but \w+ has none; use LoRA or TopLayers")
NO_PAST = Gap(
    "its layers do not accept keys and values from outside",
    r"PrefixTuning passes keys and values to the backbone, which \w+ does not accept; use PromptTuning or PTuning",
)
NO_OLORA = Gap(
    "olora decomposes the weights of linear layers, but its layers store them transposed",
    r"model\.tuning\.init olora does not support the layers of GPT2Model; use pissa or default",
)
CONV1D = Gap(
    "peft implements this method for linear layers, but its layers store their weights transposed",
    r"peft cannot apply \w+ to GPT2Model: Target module .*Conv1D.* \(choose layers with target_modules in model\.tuning",
)
PREFIXES = ("PrefixTuning", "PrefixTuning-projection")
GAPS: dict[tuple[str, str], Gap] = {
    **{(method, name): NO_BIASES for method in ("BitFit", "LoRA+BitFit") for name in ("modernbert", "llama", "t5")},
    **{(m, name): NO_PAST for m in PREFIXES for name in ("distilbert", "deberta-v2", "modernbert", "mpnet", "t5")},
    ("OLoRA", "gpt2"): NO_OLORA,
    **{(method, "gpt2"): CONV1D for method in ("LoHa", "LoKr", "OFT", "BOFT", "HRA")},
}
FLOAT32_ONLY = Gap(
    "peft implements it in float32 only",
    r"model\.tuning\.method \w+ requires float32 weights in peft; set trainer\.precision: bf16-mixed or 32-true",
)
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
PRECISION_GAPS: dict[tuple[str, str], Gap] = {
    (method, "bf16-true"): FLOAT32_ONLY for method in ("LoHa", "LoKr", "BOFT", "FourierFT")
}
PAIRS = [(m, a) for m in METHODS for a in ARCHITECTURES if (m, a) not in GAPS]


def sampled(cases: Sequence[tuple[str, ...]], share: int, always: Callable[..., bool]) -> list[Any]:
    """Cases as parameters of a test, of which some carry the mark `matrix` and run on request only.

    Args:
        cases: The cases.
        share: One in so many runs by default, the same ones everywhere.
        always: Tells of a case whether it runs in any case.
    """
    chosen = [always(*case) or zlib.crc32(" ".join(case).encode()) % share == 0 for case in cases]
    return [
        pytest.param(*case, marks=[*([] if runs else [pytest.mark.matrix]), *_needs(case)], id="-".join(case))
        for case, runs in zip(cases, chosen, strict=True)
    ]


def _needs(case: tuple[str, ...]) -> list[pytest.MarkDecorator]:
    absent = "QLoRA" in case and find_spec("bitsandbytes") is None
    return [pytest.mark.skip(reason="QLoRA needs the extra `quantized`")] if absent else []

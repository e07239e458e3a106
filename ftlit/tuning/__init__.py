"""Tuning methods: which weights of the backbone train, and how."""

from ftlit.tuning.base import Tuning
from ftlit.tuning.bottleneck import BottleneckAdapter
from ftlit.tuning.combined import Combined
from ftlit.tuning.lowrank import AdaLoRA, LoRA, QLoRA
from ftlit.tuning.peft_base import Peft
from ftlit.tuning.prompt_tuning import PrefixTuning, PromptTuning, PTuning
from ftlit.tuning.scaling import IA3
from ftlit.tuning.selective import BitFit, Frozen, Full, LayerNormTuning, Select, TopLayers
from ftlit.tuning.stages import GradualUnfreezing, HeadFirst

__all__ = [
    "IA3",
    "AdaLoRA",
    "BitFit",
    "BottleneckAdapter",
    "Combined",
    "Frozen",
    "Full",
    "GradualUnfreezing",
    "HeadFirst",
    "LayerNormTuning",
    "LoRA",
    "PTuning",
    "Peft",
    "PrefixTuning",
    "PromptTuning",
    "QLoRA",
    "Select",
    "TopLayers",
    "Tuning",
]

"""Tuning methods: which weights of the backbone train, and how."""

from ftlit.tuning.base import Tuning
from ftlit.tuning.lowrank import LoRA
from ftlit.tuning.selective import BitFit, Frozen, Full, TopLayers

__all__ = ["BitFit", "Frozen", "Full", "LoRA", "TopLayers", "Tuning"]

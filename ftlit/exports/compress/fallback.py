"""Layers of a graph that keep float32 because their rounding costs too much, one by one until the rest is good enough."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

from ftlit.exports.compress.graphs import layers_of, round_to_8_bits
from ftlit.exports.onnx.runtime import GRAPH, start_session

Inputs = dict[str, Tensor]


@dataclass
class CarefulRounding:
    """Rounds a graph to 8 bits, and keeps the layers in float32 without which it is not good enough.

    Args:
        is_good: Whether the graph in a folder is good enough, by validation.
        inputs: Inputs of the graph for a few rows of validation, on which layers are ranked.
        kept: The layers in float32, the most damaging one first; they are added here.
    """

    is_good: Callable[[Path], bool]
    inputs: Inputs
    kept: list[str] = field(default_factory=list)

    def __call__(self, source: Path, target: Path) -> None:
        """Write the graph of a folder to another folder, which has everything else already."""
        round_to_8_bits(source, target)
        if self.is_good(target):
            return
        layers, nodes = layers_of(source / GRAPH), list[str]()
        for node in ranked(source, list(layers), self.inputs):
            nodes.append(node)
            self.kept.append(layers[node])
            round_to_8_bits(source, target, nodes)
            if self.is_good(target):
                return


def ranked(source: Path, nodes: list[str], inputs: Inputs) -> list[str]:
    """The nodes of a graph by the error that the rounding of each alone makes, largest first."""
    expected = _outputs(source, inputs)
    errors = dict[str, float]()
    with TemporaryDirectory(prefix=".layer-", dir=source.parent) as place:
        for node in nodes:
            round_to_8_bits(source, Path(place), [other for other in nodes if other != node])
            errors[node] = float(np.square(_outputs(Path(place), inputs) - expected).sum())
    return sorted(nodes, key=lambda node: -errors[node])


def _outputs(folder: Path, inputs: Inputs) -> np.ndarray:
    """All outputs of a graph, one after the other, ``(numbers,)``."""
    found = start_session(folder / GRAPH).run(None, {name: value.numpy() for name, value in inputs.items()})
    return np.concatenate([np.ravel(value) for value in found])

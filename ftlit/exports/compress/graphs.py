"""Round the weights of a graph of ONNX to 8 or 4 bits, with ONNX Runtime's own tools for matrices.

Matrices have a scale for each column, and their inputs are rounded while the graph runs. Tables of embeddings have a scale for
each row: the one scale for a whole table that ONNX Runtime gives them would lose much of the rows with small numbers.
Layers after the pooling, which multiply one vector of each text (Gemm), are small and keep float32.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ftlit.exports.compress.int8 import LARGEST
from ftlit.exports.onnx.runtime import GRAPH, require_onnx

BLOCK = 32  # inputs of a column that share a scale, with 4 bits
EIGHT_BIT_SUMS = 4  # MatMulNBits multiplies numbers of 8 bits, which is fastest on CPUs
FARTHEST = 3  # operations between a product and the bias that names its layer
WITH_WEIGHTS = ("MatMul", "Gather")


def layers_of(graph: Path) -> dict[str, str]:
    """The layers of a graph that can be rounded, by the names of their nodes."""
    [onnx] = require_onnx("onnx")
    return _layers(onnx.load(graph, load_external_data=False))


def _layers(model: Any) -> dict[str, str]:
    weights = {weight.name: weight for weight in model.graph.initializer if len(weight.dims) == 2 and weight.data_type == 1}
    uses = Counter(name for node in model.graph.node for name in node.input)
    readers = {name: node for node in model.graph.node for name in node.input}
    found = {}
    for node in model.graph.node:
        place = 0 if node.op_type == "Gather" else 1
        if node.op_type in WITH_WEIGHTS and node.input[place] in weights and uses[node.input[place]] == 1:
            found[node.name] = _layer_name(node, node.input[place], readers, uses)
    return found


def _layer_name(node: Any, weight: str, readers: dict[str, Any], uses: Counter[str]) -> str:
    """The name of a layer in PyTorch, from its weight, or from its bias where the exporter has transposed the weight.

    Layers whose biases are equal share one in the graph; they are called by the names of their nodes.
    """
    names, following = [weight], node
    for _ in range(FARTHEST):
        following = readers.get(following.output[0])
        names += [] if following is None else following.input
        if following is None or following.op_type == "Add":
            break
    named = (name.rpartition(".")[0] for name in names if name.endswith((".weight", ".bias")) and uses[name] == 1)
    return next(named, node.name).removeprefix("model.")


def round_to_8_bits(source: Path, target: Path, kept: Collection[str] = ()) -> None:
    """Write the graph of a folder to another folder with weights of 8 bits.

    Args:
        source: The folder of a graph in float32.
        target: The folder to write to.
        kept: Names of nodes whose weights stay in float32.
    """
    onnx, quantization = require_onnx("onnx", "onnxruntime.quantization")
    model = onnx.load(source / GRAPH)
    chosen = [name for name in _layers(model) if name not in kept]
    _round_tables(model, chosen)
    large = len([*source.glob(f"{GRAPH}.*")]) > 0  # with its weights beside it
    onnx.save(model, target / GRAPH, save_as_external_data=large)
    matrices = [node.name for node in model.graph.node if node.name in chosen and node.op_type != "Gather"]
    if matrices:
        with _quiet():
            quantization.quantize_dynamic(
                target / GRAPH,
                target / GRAPH,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=matrices,
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                use_external_data_format=large,
            )


def round_to_4_bits(source: Path, target: Path) -> None:
    """Write the graph of a folder to another folder with matrices of 4 bits, and tables of 8 bits."""
    onnx, quantizer = require_onnx("onnx", "onnxruntime.quantization.matmul_nbits_quantizer")
    model = onnx.load(source / GRAPH)
    _round_tables(model, [*_layers(model)])
    with _quiet():
        rounded = quantizer.MatMulNBitsQuantizer(
            model, block_size=BLOCK, is_symmetric=True, accuracy_level=EIGHT_BIT_SUMS, op_types_to_quantize=("MatMul",)
        )
        rounded.process()
    rounded.model.save_model_to_file(str(target / GRAPH), len([*source.glob(f"{GRAPH}.*")]) > 0)


def _round_tables(model: Any, chosen: Collection[str]) -> None:
    """Round the tables of embeddings among some nodes to 8 bits, in place; what is looked up becomes float32."""
    [onnx] = require_onnx("onnx")
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type == "Gather" and node.name in chosen:
            model.graph.node.extend(_rounded_lookup(onnx, model, node))
        else:
            model.graph.node.append(node)


def _rounded_lookup(onnx: Any, model: Any, node: Any) -> list[Any]:
    """The nodes that look rows up in a rounded table, in the place of a node that does so in float32."""
    name, ids = node.input
    [table] = [weight for weight in model.graph.initializer if weight.name == name]
    values = onnx.numpy_helper.to_array(table)
    scales = np.maximum(abs(values).max(1, keepdims=True), np.finfo(np.float32).tiny) / LARGEST
    rows = {f"{name}_int8": np.round(values / scales).astype(np.int8), f"{name}_scale": scales}
    model.graph.initializer.remove(table)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, key) for key, value in rows.items())
    looked, made = [f"{node.name}_{end}" for end in ("int8", "scale", "float")], onnx.helper.make_node
    lookups = [made("Gather", [key, ids], [out], name=out) for key, out in zip(rows, looked, strict=False)]
    cast = made("Cast", [looked[0]], [looked[2]], name=looked[2], to=onnx.TensorProto.FLOAT)
    return [*lookups, cast, made("Mul", [looked[2], looked[1]], node.output, name=node.name)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the advice of ONNX Runtime's tools, which log to the root logger."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)

"""Verify a graph: without PyTorch, it must return the outputs of the run for batches of several sizes."""

from pathlib import Path

import numpy as np
import torch

from ftlit.exports import verify
from ftlit.exports.onnx import script
from ftlit.exports.onnx.runtime import GRAPH
from ftlit.exports.traced.cases import Cases, compare
from ftlit.util.files import write_json


def verify_graph(expected: Cases, folder: Path, work: Path) -> float:
    """Compare the outputs of a graph in a process without PyTorch with those of the run.

    Args:
        expected: Outputs of the run.
        folder: The exported folder.
        work: Folder for files that are exchanged between the processes.

    Returns:
        The largest difference, relative to the largest output, or to 1 if all are smaller.

    Raises:
        UserError: If the graph cannot be opened, or the difference is above the tolerance.
    """
    work.mkdir()
    given = {f"{i}.{name}": value.numpy() for i, case in enumerate(expected.inputs) for name, value in case.items()}
    np.savez(work / "inputs.npz", **given)  # type: ignore[arg-type]
    names = {"inputs": [*expected.inputs[0]], "outputs": [*expected.outputs[0]]}
    write_json(work / "plan.json", {"graph": str(folder / GRAPH), "cases": len(expected.inputs), **names})
    verify.run_in_new_process(work, script)
    with np.load(work / "found.npz") as file:
        found = [{name: torch.from_numpy(file[f"{i}.{name}"]) for name in case} for i, case in enumerate(expected.outputs)]
    return compare("a process with onnxruntime alone", found, expected)

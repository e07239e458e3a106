"""Script that computes the outputs of a graph with ONNX Runtime and NumPy only, run by `ftlit.exports.onnx.verify`."""

import json
import sys
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    """Run a graph on several batches and save its outputs.

    Args:
        folder: Folder with ``plan.json`` and ``inputs.npz``. ``found.npz`` is written to it.
    """
    import onnxruntime  # an extra, which other exports do without

    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    session = onnxruntime.InferenceSession(plan["graph"], providers=["CPUExecutionProvider"])
    found: dict[str, np.ndarray] = {}
    with np.load(folder / "inputs.npz") as inputs:
        for case in range(plan["cases"]):
            given = {name: inputs[f"{case}.{name}"] for name in plan["inputs"]}
            outputs = session.run(plan["outputs"], given)
            found |= {f"{case}.{name}": value for name, value in zip(plan["outputs"], outputs, strict=True)}
    np.savez(folder / "found.npz", **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]))

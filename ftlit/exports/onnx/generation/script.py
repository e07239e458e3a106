"""Script that reads and writes texts with the program of an exported folder, run by `ftlit.exports.onnx.generation.verify`."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path) -> None:
    """Compute the logits along some texts, and write the most probable ones.

    Args:
        folder: Folder with ``plan.json`` and ``inputs.npz``. ``found.npz`` and ``written.json`` are written to it.
    """
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    program = runpy.run_path(str(Path(plan["folder"]) / "generate.py"))
    graphs, found = program["Graphs"](plan["folder"]), dict[str, np.ndarray]()
    with np.load(folder / "inputs.npz") as file:
        for case in range(plan["cases"]):
            inputs = {name.partition(".")[2]: file[name] for name in file if name.startswith(f"{case}.")}
            found[str(case)] = along(graphs, inputs.pop("text"), inputs)
    np.savez(folder / "found.npz", **found)  # type: ignore[arg-type]
    write = program["Writer"](plan["folder"], **plan["settings"])
    (folder / "written.json").write_text(json.dumps(write(**plan["write"])), "utf-8")


def along(graphs: Any, text: np.ndarray, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return the logits after the last token of a prompt, and after each token of a text behind it, which are read one by one.

    Args:
        graphs: The graphs.
        text: Ids of the tokens, ``(rows, tokens)``. That of an encoder-decoder begins with the token that begins targets.
        inputs: ``input_ids`` and ``attention_mask`` of the prompts or sources, ``(rows, longest)``, and others.
    """
    graphs.begin(inputs)
    found = [] if graphs.encoder else [graphs.read(inputs["input_ids"], inputs["attention_mask"])[:, -1:]]
    steps = [text[:, i : i + 1] for i in range(text.shape[1])]
    return np.concatenate([*found, *(graphs.read(step) for step in steps)], 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

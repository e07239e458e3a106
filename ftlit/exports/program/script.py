"""Script that computes the outputs of a program with PyTorch alone, run by `ftlit.exports.program.verify`."""

import json
import sys
from pathlib import Path

import torch


def main(folder: Path) -> None:
    """Run a program on several batches and save its outputs.

    Args:
        folder: Folder with ``plan.json`` and ``inputs.pt``. ``found.pt`` is written to it.
    """
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    program = torch.export.load(plan["program"]).module()
    batches = torch.load(folder / "inputs.pt", weights_only=True)
    with torch.inference_mode():
        found = [program(*(batch[name] for name in plan["inputs"])) for batch in batches]
    torch.save([dict(zip(plan["outputs"], values, strict=True)) for values in found], folder / "found.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

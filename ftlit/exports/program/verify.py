"""Verify a program: with PyTorch alone, it must return the outputs of the run for batches of several sizes."""

from pathlib import Path

import torch

from ftlit.exports import verify
from ftlit.exports.program import script
from ftlit.exports.traced.cases import Cases, compare
from ftlit.runs.exported import PROGRAM
from ftlit.util.files import write_json


def verify_program(expected: Cases, folder: Path, work: Path) -> float:
    """Compare the outputs of a program in a process without ftlit and transformers with those of the run.

    Args:
        expected: Outputs of the run.
        folder: The exported folder.
        work: Folder for files that are exchanged between the processes.

    Returns:
        The largest difference, relative to the largest output, or to 1 if all are smaller.

    Raises:
        UserError: If the program cannot be opened, or the difference is above the tolerance.
    """
    work.mkdir()
    torch.save([{name: value.cpu() for name, value in case.items()} for case in expected.inputs], work / "inputs.pt")
    names = {"inputs": [*expected.inputs[0]], "outputs": [*expected.outputs[0]]}
    write_json(work / "plan.json", {"program": str(folder / PROGRAM), **names})
    verify.run_in_new_process(work, script)
    return compare("a process with torch alone", torch.load(work / "found.pt", weights_only=True), expected)

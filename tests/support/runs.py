"""Finished runs that many tests read."""

import sys
from pathlib import Path
from typing import Any

import pytest

from ftlit.__main__ import main
from tests.support.command_line import arguments

# Options of a run with each tuning method; the names are those of `ftlit.tuning` but for PiSSA, a start of LoRA.
METHODS: dict[str, dict[str, Any]] = {
    "Full": {},
    "BitFit": {},
    "LoRA": {"model__tuning__r": 2, "model__lr_factors": '{"lora_B": 2}'},  # factors that find nothing in a merged model
    "PiSSA": {"model__tuning": "LoRA", "model__tuning__r": 2, "model__tuning__init": "pissa"},
    "AdaLoRA": {"model__tuning__r": 2, "model__tuning__init_r": 4},
    "IA3": {},
    "PromptTuning": {"model__tuning__tokens": 3},
    "PTuning": {"model__tuning__tokens": 3},
    "PrefixTuning": {"model__tuning__tokens": 3, "model__tuning__projection": "true"},
    "BottleneckAdapter": {},
}


def fitted(run_dir: Path, task: str, **options: Any) -> Path:
    """Train a task on the CPU in this process, for one epoch unless options say otherwise.

    Args:
        run_dir: Where the run goes.
        task: Name of the task's class.
        **options: As for `arguments`; ``data`` is by default the data of the task.
    """
    rate = {"model__optimizer": "torch.optim.AdamW", "model__optimizer__init_args__lr": 0.02}
    given = {"run_dir": run_dir, "data": f"{task}Data", **rate, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ftlit"])
        main(arguments("fit", task, given.pop("data"), **given))
    return run_dir

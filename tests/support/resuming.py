"""What a run is when it ends, and what a kill leaves of it, for tests of runs that are resumed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlit.runs.files import BEST, LAST
from ftlit.training.resume import LastCheckpoint

KEPT = ("metrics.csv", "predictions/test.jsonl", "predictions/validation.jsonl")


def final_state(run_dir: Path) -> dict[str, Any]:
    """All that must not depend on interruptions: weights and optimizer by tensor, files by byte, results by value."""
    state: dict[str, Any] = {name: (run_dir / name).read_bytes() for name in KEPT}
    for name in (BEST, LAST):
        checkpoint = torch.load(run_dir / name, weights_only=True)
        state |= {f"{name}/{key}": value for key, value in checkpoint["state_dict"].items()}
        state[f"{name}/step"] = checkpoint["global_step"]
    optimizer = torch.load(run_dir / LAST, weights_only=True)["optimizer_states"][0]["state"]
    state |= {f"optimizer/{i}/{key}": value for i, values in optimizer.items() for key, value in values.items()}
    results = json.loads((run_dir / "results.json").read_text())
    return state | {"results": {split: results[split] for split in ("validation", "test")}}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What differs, even by one bit."""
    assert one.keys() == other.keys()
    return [key for key in one if not _equal(one[key], other[key])]


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def keep_snapshots(patch: pytest.MonkeyPatch, run_dir: Path, into: Path) -> None:
    """Copy the run folder whenever last.ckpt was written: what a kill right then leaves behind."""
    write = LastCheckpoint.save

    def save(self: LastCheckpoint, trainer: Any) -> None:
        write(self, trainer)
        shutil.copytree(run_dir, into / f"batch-{trainer.fit_loop.total_batch_idx:02d}")

    patch.setattr(LastCheckpoint, "save", save)

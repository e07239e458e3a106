"""The job for Slurm of docs/gpus_and_clusters.md, on a real one: it trains on several tasks, and continues when requeued."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftlit.runs.files import LAST
from tests.support.command_line import ROOT
from tests.support.study.slurm_cluster import missing, slurm_cluster, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=f"Slurm is not installed: {', '.join(missing())}")]


@pytest.fixture
def cluster() -> Iterator[Path]:
    with slurm_cluster() as folder:
        yield folder


def job(folder: Path) -> Path:
    """The page's script, for two tasks on processors."""
    page = (ROOT / "docs/gpus_and_clusters.md").read_text("utf-8")
    script = re.findall(r"\$ cat job\.sh\n(.*?)```", page, re.DOTALL)[0]
    for four, two in {"-per-node=4 --gpus-per-node=4": "-per-node=2", "--trainer.devices 4": "--trainer.devices 2"}.items():
        assert four in script
        script = script.replace(four, two)
    path = folder / "job.sh"
    path.write_text(script.replace("srun python", f"srun {sys.executable}"))
    return path


@pytest.mark.usefixtures("cluster")
def test_a_requeued_job_goes_on(tiny: Callable[[str], str], sentiment: str, tmp_path: Path) -> None:
    batching = {"class_path": "Shuffled", "init_args": {"batch_size": 4}}
    config = {
        "model": {"class_path": "TextClassification", "init_args": {"backbone": tiny("bert")}},
        "data": {"class_path": "TextClassificationData", "init_args": {"dataset": sentiment, "batching": batching}},
        "trainer": {"accelerator": "cpu", "max_epochs": 30, "log_every_n_steps": 1, "enable_progress_bar": False},
        "patience": None,
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    run_dir = tmp_path / "runs/mine"
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True}
    number = subprocess.check_output(["sbatch", "--parsable", str(job(tmp_path))], **options).strip()
    wait_until((run_dir / LAST).exists, tmp_path, "slurm-*.out", 240)
    subprocess.run(["scontrol", "requeue", number], check=True)

    def record() -> dict[str, Any]:
        return json.loads((run_dir / "run.json").read_text())

    began = record()["started"]
    assert record()["status"] != "completed"
    wait_until(lambda: record()["status"] == "completed", tmp_path, "slurm-*.out", 240)
    assert record()["started"] == began
    assert record()["steps"] == 30 * 11
    with (run_dir / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row.get("train/loss")]
    assert steps == list(range(1, 331))

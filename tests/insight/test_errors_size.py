"""The report on a million predictions with a thousand labels: its bytes, and the memory that it takes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.command_line import ROOT
from tests.support.run_folders import write_run

ROWS, LABELS, KEPT = 1_000_000, 1000, 20


def write_predictions(path: Path, rows: int) -> None:
    """Predictions with the highest scores of a thousand labels; 70% are right."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            labels = rng.zipf(1.3, count) % LABELS
            others = rng.integers(1, LABELS, (count, KEPT - 1)).cumsum(1) % LABELS
            right = rng.random(count) < 0.7
            lengths = rng.integers(20, 160, count)
            for i in range(count):
                names = [f"label {labels[i]}", *(f"label {other}" for other in others[i])]
                scores = dict(zip(names if right[i] else names[1:] + names[:1], [0.6, *[0.02] * (KEPT - 1)], strict=True))
                row = {"id": f"test:{start + i}", "text": f"Text {start + i} " + "word " * (lengths[i] // 5), "label": names[0]}
                said = max(scores, key=scores.__getitem__)
                file.write(json.dumps({**row, "prediction": said, "score": scores[said], "scores": scores}) + "\n")


@pytest.mark.slow
def test_a_million_rows_and_a_thousand_labels(tmp_path: Path) -> None:
    run = Path(write_run(tmp_path / "run", [], results={"test": {"accuracy": 0.7}}))
    write_predictions(run / "predictions/test.jsonl", ROWS)
    began = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "ftlit", "errors", "--run", str(run)], env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    report = run / "insight/errors"
    record = json.loads((report / "errors.json").read_text())
    assert record["examples"] == ROWS
    assert (report / "errors.html").stat().st_size < 5_000_000
    print(
        f"{time.monotonic() - began:.0f} s, {usage.ru_maxrss / 1e6:.1f} GB, {(report / 'errors.html').stat().st_size:,} bytes"
    )
    assert usage.ru_maxrss < 4e6  # kilobytes

"""The names of the files in a run folder."""

from pathlib import Path

CONFIG = "config.yaml"  # the resolved config: `fit --config` with it repeats the run
RECORD = "run.json"  # status, seed, versions, hardware, data, numbers of weights
RESULTS = "results.json"  # metrics by split, and efficiency
METRICS = "metrics.csv"  # every logged value by step and epoch
PROGRESS = "progress.json"  # the step of a running training
SAMPLES = "samples.jsonl"  # texts that a language model generated during training
CALIBRATION = "calibration.json"  # what `ftlit calibrate` fitted for the predictions of the best checkpoint
LOCK = "run.lock"  # the process that writes to the folder, as long as it lives
PREDICTIONS, CHECKPOINTS, INSIGHT = "predictions", "checkpoints", "insight"  # folders; reports of `ftlit.insight` in the last
BEST, LAST = f"{CHECKPOINTS}/best.ckpt", f"{CHECKPOINTS}/last.ckpt"
CONTENTS = (CONFIG, RECORD, PROGRESS, METRICS, RESULTS, SAMPLES, CALIBRATION, PREDICTIONS, CHECKPOINTS, INSIGHT)

# The version of this layout, recorded in run.json. It is increased whenever an older reader would misread a changed file.
SCHEMA = 1


def predictions_file(run_dir: Path, split: str) -> Path:
    """The file of a split's predictions, with one JSON object per line in the order of the rows."""
    return run_dir / PREDICTIONS / f"{split}.jsonl"

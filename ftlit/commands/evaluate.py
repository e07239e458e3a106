"""Evaluate the model of a run, and print and write the results."""

from contextlib import AbstractContextManager
from math import isnan
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from ftlit.commands.report import report_text, write_evaluation
from ftlit.commands.update.lineage import parents
from ftlit.data.shared.base import TaskData
from ftlit.data.shared.summary import data_report, data_text
from ftlit.errors import UserError
from ftlit.metrics.calibration.measures import calibration_report
from ftlit.metrics.evidence import METRIC_SETTINGS
from ftlit.metrics.evidence.intervals import baseline_scores, metric_intervals
from ftlit.runs.checkpoint import step_of
from ftlit.runs.files import RESULTS
from ftlit.runs.lock import RunLock
from ftlit.runs.loggers import send_efficiency, send_report
from ftlit.runs.reading import RunFolder, results_text
from ftlit.runs.record import now
from ftlit.tasks import TaskModule
from ftlit.tasks.shared.evaluator import metric_directions
from ftlit.training.bfloat16 import precision_note
from ftlit.training.cost import cost_text
from ftlit.training.parameters import parameter_counts, parts_text
from ftlit.training.trainer import RunParts
from ftlit.util.files import write_json
from ftlit.util.hub import commit_of, unpinned


class Evaluation:
    """Evaluates a model and writes the results to the run folder.

    Args:
        run_dir: The run's folder.
        parts: The trainer and callbacks of the run.
        model: The task.
        data: The data of the task.
    """

    def __init__(self, run_dir: Path, parts: RunParts, model: TaskModule, data: TaskData) -> None:
        self.run_dir, self.trainer, self.model, self.data = run_dir, parts.trainer, model, data
        self.record, self.cost, self.predictions = parts.record, parts.cost, parts.predictions
        self.interruption, self.metrics_file = parts.interruption, parts.metrics_file
        self.trunk_cache, self.teacher_cache = parts.trunk_cache, parts.teacher_cache
        self.found: dict[str, Any] = {}
        self.before: dict[str, Any] = {}
        self.began = now()

    @rank_zero_only
    def print_summary(self) -> None:
        """Print statistics of the data, and the numbers of weights and trained weights."""
        self.found = data_report(self.data)
        print(f"\nData: {self.data.rows.description}\n{data_text(self.found)}")
        print(f"\nTuning: {self.model.tuning}\n{parts_text(self.model.model)}\n", flush=True)
        notes = [*self.model.notes, precision_note(str(self.trainer.precision))]
        print(*(f"note: {note}\n" for note in notes if note), sep="\n", end="", flush=True)

    @rank_zero_only
    def open_record(self, seed: int) -> None:
        """Write run.json once training has begun."""
        self.record.start(
            self.began,
            task=type(self.model).__name__,
            evidence=self.model.evidence,
            higher_is_better=metric_directions(self.model),
            monitor=self.model.monitor,
            **self._origin(),
            tuning=str(self.model.tuning),
            seed=seed,
            precision=str(self.trainer.precision),
            parameters=parameter_counts(self.model.model),
            data=self.found,
            **({"teacher": self.model.teacher.record} if self.model.distillation else {}),
            **({"parents": found} if (found := parents(self._uses().items())) else {}),
            **({"before": self.before} if self.before else {}),
        )

    def _origin(self) -> dict[str, Any]:
        """The names, revisions and commits of the backbone and the data set; the last two are null for folders and files."""
        name, revision = unpinned(self.model.hparams["backbone"])
        commits = {"commit": commit_of(self.model.hparams["backbone"]), "data_commit": self.data.rows.commit}
        return {"backbone": name, "revision": revision, **commits}

    def _uses(self) -> dict[str, Any]:
        """The earlier runs that this one uses, by what it uses them for."""
        model, replay = self.model, self.data.replay
        earlier = {"init_from": model.init_from, "teacher": model.hparams["teacher"], "replay": replay and replay.run}
        return {**earlier, "keep": getattr(model.keep, "run", None)}

    def evaluate_untrained(self, splits: list[str]) -> None:
        """Measure the untrained model without logging its metrics, which go to the record when it is opened."""
        loggers, self.trainer.loggers = self.trainer.loggers, []
        self.predictions.enabled = False
        self.before = {split: self.measure(split) for split in splits}
        self.trainer.loggers, self.predictions.enabled = loggers, True

    def evaluate_best(self, splits: list[str]) -> None:
        """Evaluate the best checkpoint, and write and print the results."""
        steps, best = self.trainer.global_step, self._best()
        before = RunFolder(self.run_dir).record.get("before")
        results: dict[str, Any] = {"before": before} if before else {}
        for split in splits:
            results[split] = self.measure(split, best if split == splits[0] else None)  # loaded once
            self._write_report(split, picture=split == splits[-1])
        results |= self._uncertainty(results)
        counts = parameter_counts(self.model.model)
        results["efficiency"] = {
            **self.cost.totals(self.trainer, step_of(best) if best else None),
            "trunk_seconds": self.trunk_cache.seconds,
            "teacher_seconds": self.teacher_cache.seconds,
            "trained_parameters": counts["trained"],
            "trained_share": counts["trained_share"],
            "checkpoint_bytes": best.stat().st_size if best else None,
        }
        self._finish(results, steps)

    def evaluate_checkpoint(self, split: str, checkpoint: Path) -> None:
        """Evaluate a checkpoint and add the metrics to the results of the run.

        Raises:
            UserError: The run in the folder was evaluated on other data.
        """
        self.data.setup()
        if self._has_changed(split):
            raise UserError(
                f"{self.run_dir} holds a run on other {split} data; to evaluate its checkpoint on these, "
                f"set another --run_dir and --ckpt_path {checkpoint}"
            )
        with RunLock(self.run_dir) as lock, self._listening():
            if self.trainer.is_global_zero:
                lock.take()
            before = RunFolder(self.run_dir).results
            numbers = self.measure(split, checkpoint)
            self._write_report(split)
            found = {split: numbers} | self._uncertainty({split: numbers})
            self._write(before | found, found)

    def _listening(self) -> AbstractContextManager[None]:
        return self.interruption.listening(self.trainer.global_rank, lambda: "nothing was written")

    def check_validation(self) -> None:
        """Check that a resumed run chooses its best checkpoint on the same rows as before.

        Raises:
            UserError: The validation data have changed.
        """
        if self._has_changed("validation"):
            raise UserError(
                "--resume continues exactly where the run stopped, but the validation data have changed, and scores on the old "
                "rows cannot be compared with scores on the new ones; use the data (and data.limit_validation) of the run, or "
                "train again with --overwrite"
            )

    def _has_changed(self, split: str) -> bool:
        """Whether the rows of a split differ from those of the run in the folder."""
        known = RunFolder(self.run_dir).record.get("data", {}).get("splits", {}).get(split, {}).get("fingerprint")
        return bool(known) and known != self.data.fingerprints.get(split)

    def measure(self, split: str, checkpoint: Path | None = None) -> dict[str, float]:
        """Evaluate a checkpoint or the current weights on a split, and return the metrics by name."""
        run = self.trainer.validate if split == "validation" else self.trainer.test
        given: dict[str, Any] = {"ckpt_path": checkpoint, "weights_only": True} if checkpoint else {}
        run(self.model, datamodule=self.data, verbose=False, **given)
        return {key.split("/", 1)[1]: float(value) for key, value in self.trainer.callback_metrics.items()}

    def _uncertainty(self, results: dict[str, Any]) -> dict[str, Any]:
        """The intervals of the test scores and the scores of a baseline, as `intervals` and `baseline` of the results."""
        if "test" not in results or not self.trainer.is_global_zero:
            return {}
        try:
            return self._test_uncertainty(results["test"])
        except Exception as error:  # of a task outside the package, say, whose predictions have another form
            print(f"\nThe test scores have no intervals: {type(error).__name__}: {error}")
            return {}

    def _test_uncertainty(self, scores: dict[str, float]) -> dict[str, Any]:
        kind, settings = self.model.evidence, {key: self.model.hparams.get(key) for key in METRIC_SETTINGS}
        rows = RunFolder(self.run_dir).prediction_rows("test")
        found: dict[str, dict[str, Any]] = {
            "intervals": {"test": metric_intervals(kind, scores, rows, settings)},
            "baseline": {"test": baseline_scores(kind, scores, rows, settings, self.model.constant_prediction)},
        }
        return {key: values for key, values in found.items() if values["test"]}

    def _best(self) -> Path | None:
        return RunFolder(self.run_dir).best_checkpoint  # None without a validation

    @rank_zero_only
    def _write_report(self, split: str, picture: bool = True) -> None:
        report = self.model.evaluators["val" if split == "validation" else "test"].details
        if found := self._calibration():
            report = {**report, "calibration": found}
        files = write_evaluation(self.run_dir, split, report, picture)
        if report and split == "test":
            print(f"\nTest{', by label' if 'per_class' in report else ''}\n{report_text(report)}")
        send_report(self.trainer.loggers, split, report, files)

    def _calibration(self) -> list[dict[str, Any]]:
        """How far the scores of the last evaluation are probabilities; empty for a task without them."""
        rows, self.predictions.rows = self.predictions.rows, []  # whose memory is needed no longer
        try:
            return calibration_report(self.model.evidence, rows)
        except Exception as error:  # of a task outside the package, as above
            print(f"\nThe report says nothing of calibration: {type(error).__name__}: {error}")
            return []

    @rank_zero_only
    def _finish(self, results: dict[str, Any], steps: int) -> None:
        self._write(results, results)
        self.record.update(status="completed", ended=now(), steps=steps)
        send_efficiency(self.trainer.loggers, results["efficiency"], steps)
        self._say_if_never_measured()
        print(f"\n{cost_text(results['efficiency'])}\nRun folder: {self.run_dir}", flush=True)

    def _say_if_never_measured(self) -> None:
        """Say so if the monitored metric was NaN at every validation, so that it could not choose a checkpoint."""
        monitor = self.model.monitor
        values = [float(row[monitor]) for row in self.metrics_file.rows if monitor in row]
        if values and all(map(isnan, values)):
            print(
                f"\n{monitor} was NaN at every validation ({len(values)} in all), so the best checkpoint is the first one; "
                "a correlation is NaN if all predictions or all labels are equal; set another model.monitor, such as val/loss"
            )

    @rank_zero_only
    def _write(self, results: dict[str, Any], shown: dict[str, Any]) -> None:
        write_json(self.run_dir / RESULTS, results)
        print(f"\nResults\n{results_text(shown)}", flush=True)

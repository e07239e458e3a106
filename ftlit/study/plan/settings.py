"""The settings of a study, one class for each section of its file."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ftlit.errors import UserError
from ftlit.metrics.direction import bounds
from ftlit.study.plan.axes import Level
from ftlit.study.plan.select import SelectSettings

Correction = Literal["holm", "bh"]
Keep = Literal["none", "best", "all"]
Launcher = Literal["local", "slurm", "ray"]


@dataclass(frozen=True)
class CompareSettings:
    """What is compared.

    Args:
        metric: A metric of the task, named as in results.json. With a list, the first metric is compared, and the means of the
            others are shown.
        baseline: The level that the other levels of its axis are compared with.
        pairs: The comparisons that the study is about: those with the baseline (baseline), all pairs of levels (all), or a list
            of pairs such as ``[[lora, full]]``. By default, those with the baseline if there is one. All other pairs are a
            second family, with a correction of its own.
        margin: A difference that does not matter. Arms that differ by less are found equivalent.
        axis: The axis whose levels are compared; by default the baseline's axis, or the first one.
        split: The split on which arms are compared.
        level: Significance level of the tests.
        correction: Correction for multiple comparisons: holm, or bh (Benjamini and Hochberg).
        higher_is_better: Whether higher values of the metric are better; by default as the task's run records say.
    """

    metric: str | list[str]
    baseline: str | None = None
    pairs: str | list[list[str]] | None = None
    margin: float | None = None
    axis: str | None = None
    split: Literal["test", "validation"] = "test"
    level: float = 0.05
    correction: Correction = "holm"
    higher_is_better: bool | None = None

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise UserError(f"compare.level should be between 0 and 1, got {self.level}")
        if not self.metrics:
            raise UserError("compare.metric should name a metric, got an empty list")
        if isinstance(self.pairs, str) and self.pairs not in ("baseline", "all"):
            raise UserError(f"compare.pairs should be baseline, all or a list of pairs of arms, got {self.pairs!r}")
        if self.pairs == "baseline" and self.baseline is None:
            raise UserError("compare.pairs: baseline needs compare.baseline, the arm to compare with")
        self._check_margin()

    def _check_margin(self) -> None:
        low, high = bounds(self.metrics[0])
        if self.margin is not None and not 0 < self.margin < high - low:
            most = f" and below {high - low:g}, the range of {self.metrics[0]}" if math.isfinite(high - low) else ""
            raise UserError(f"compare.margin should be above 0{most}, got {self.margin:g}")

    @property
    def metrics(self) -> list[str]:
        """The metrics, of which the first is compared."""
        return [self.metric] if isinstance(self.metric, str) else self.metric

    @property
    def primary(self) -> str:
        """The metric that is compared."""
        return self.metrics[0]


@dataclass(frozen=True)
class LaunchSettings:
    """Where cells run. Apart from `threads`, these settings do not affect the results.

    Args:
        launcher: Processes on this machine (local), a job array (slurm), or tasks on a Ray cluster (ray).
        jobs: Number of cells that run at a time; by default `per_device` for each GPU, or the number of cores divided by
            `threads`.
        per_device: Number of cells that share a GPU, or auto for as many as its memory and the CPU cores allow, once the first
            have shown what they need. Seconds in reports are then those of cells that share a GPU.
        threads: CPU threads per cell. Changing it changes results in the last bits.
        slurm: Options for ``sbatch``, named as in submitit, such as ``{slurm_partition: gpu, timeout_min: 600}``.
        ray: Resources of a cell, such as ``{num_cpus: 1, num_gpus: 0.5}``, and the ``address`` of the cluster.
    """

    launcher: Launcher = "local"
    jobs: int | None = None
    per_device: int | Literal["auto"] = 1
    threads: int = 1
    slurm: dict[str, Any] = field(default_factory=dict)
    ray: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("jobs", self.jobs), ("per_device", self.per_device), ("threads", self.threads)):
            if isinstance(value, int) and value < 1:
                raise UserError(f"launch.{name} should be at least 1, got {value}")


@dataclass(frozen=True)
class Study:
    """A study, as described by its file.

    Args:
        name: Name of the study and of its folder; by default the name of the file.
        question: The question that the report should answer.
        bases: The experiments by name, including the values of `set`.
        axes: The levels of each axis by name.
        design: All combinations of levels (grid), a random subset (random: 20), or a list.
        exclude: Combinations of levels to leave out.
        seeds: Seeds of the repetitions; with sequential seeds, those that an arm has at most.
        looks: The numbers of seeds at which results decide which arms go on; empty if all seeds of all arms run.
        seed_keys: The config keys that a seed sets.
        select: The keys for which each arm chooses values; None without a selection.
        compare: What is compared.
        folder: Folder for the cells and the report.
        launch: Where cells run.
        keep: Checkpoints of finished cells to keep: none, the best one of each repetition (best), or all.
        content: The content of the file, with the files that it includes and the options of the command.
    """

    name: str
    question: str
    bases: dict[str, dict[str, Any]]
    axes: dict[str, dict[str, Level]]
    design: Any
    exclude: list[dict[str, str]]
    seeds: list[int]
    looks: tuple[int, ...]
    seed_keys: list[str]
    select: SelectSettings | None
    compare: CompareSettings
    folder: Path
    launch: LaunchSettings
    keep: Keep
    content: dict[str, Any]

    @property
    def first_seeds(self) -> list[int]:
        """The seeds that every arm has."""
        return self.seeds[: self.looks[0]] if self.looks else self.seeds

"""What a study file describes, section by section."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ftlit.errors import UserError
from ftlit.study.plan.axes import Level, draw_values

Correction = Literal["holm", "bh"]
Keep = Literal["none", "best", "all"]
Launcher = Literal["local", "slurm", "ray"]
Method = Literal["grid", "random", "tpe"]


@dataclass(frozen=True)
class SelectSettings:
    """How every arm chooses the values of some keys, on validation alone and with the same number of trials.

    Args:
        over: The values to try of each key: a list, or a range ``{low: 1e-5, high: 1e-3, log: true}``.
        seeds: Of each trial; the mean over them decides.
        method: All combinations (grid), some drawn at random, or Optuna's TPE.
        trials: Number of trials of an arm, where they are not a grid.
        prune: Whether trials that fall behind are stopped early (tpe).
        seed: Decides what is drawn.
    """

    over: dict[str, Any]
    seeds: list[int] = field(default_factory=lambda: [0])
    method: Method = "grid"
    trials: int | None = None
    prune: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = [key for key, values in self.over.items() if not isinstance(values, list)]
        if self.method == "grid" and ranges:
            raise UserError(f"select.over.{ranges[0]} is a range; give a list of values, or select.method: random or tpe")
        if self.method != "grid" and not self.trials:
            raise UserError(f"select.method {self.method} needs select.trials, the number of trials of each arm")
        if self.method == "grid" and self.trials:
            raise UserError("select.trials goes with select.method random or tpe; a grid tries all combinations")
        if self.prune and self.method != "tpe":
            raise UserError("select.prune goes with select.method: tpe")
        if not self.over or not self.seeds:
            raise UserError("select needs the keys and values to try (over) and at least one seed (seeds)")

    def combinations(self) -> list[dict[str, Any]]:
        """The values to try, the same for every arm; none for TPE, which asks for one after the other."""
        if self.method == "tpe":
            return []
        return draw_values(self.over, self.trials, self.seed)

    @property
    def budget(self) -> int:
        """Number of trials of an arm."""
        return (self.trials or len(self.combinations())) * len(self.seeds)


@dataclass(frozen=True)
class CompareSettings:
    """What is compared.

    Args:
        metric: A metric of the task, as it stands in results.json.
        baseline: The level against which the others of its axis are held.
        axis: The axis of what is compared; by default that of the baseline, or the first.
        split: Where it is measured.
        level: Share of false "different" that is allowed.
        correction: For many comparisons: Holm, or Benjamini and Hochberg.
    """

    metric: str
    baseline: str | None = None
    axis: str | None = None
    split: Literal["test", "validation"] = "test"
    level: float = 0.05
    correction: Correction = "holm"


@dataclass(frozen=True)
class LaunchSettings:
    """Where cells run; nothing here changes their results.

    Args:
        launcher: Worker processes here (local), a job array (slurm), or tasks of a Ray cluster (ray).
        jobs: Cells at a time; by default one a GPU, or as many as there are cores for their threads.
        threads: Of each cell on a CPU; results depend on it in their last bits.
        slurm: What ``sbatch`` is told, as submitit takes it, such as ``{slurm_partition: gpu, timeout_min: 600}``.
        ray: Resources of a cell, such as ``{num_cpus: 1, num_gpus: 0.5}``, and the ``address`` of the cluster.
    """

    launcher: Launcher = "local"
    jobs: int | None = None
    threads: int = 1
    slurm: dict[str, Any] = field(default_factory=dict)
    ray: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study as its file describes it.

    Args:
        name: Of its folder; by default that of the file.
        question: What is asked, for the report.
        bases: The experiments by name, with the values of `set`.
        axes: The levels of each axis by name.
        design: All combinations of levels (grid), some at random (random: 20), or those of a list.
        exclude: Levels that are left out together.
        seeds: Of the repetitions.
        seed_keys: The keys that a seed sets.
        select: What each arm chooses for itself.
        compare: What is compared.
        folder: Where cells and report go.
        launch: Where cells run.
        keep: Checkpoints to keep of finished cells: none, the best of each repetition (best), or all.
    """

    name: str
    question: str
    bases: dict[str, dict[str, Any]]
    axes: dict[str, dict[str, Level]]
    design: Any
    exclude: list[dict[str, str]]
    seeds: list[int]
    seed_keys: list[str]
    select: SelectSettings | None
    compare: CompareSettings
    folder: Path
    launch: LaunchSettings
    keep: Keep

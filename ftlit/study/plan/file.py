"""Read a study file: which keys of an experiment vary, over which seeds, and what is compared."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftlit.errors import UserError, near
from ftlit.study.plan.axes import Level, axis_levels
from ftlit.study.plan.seeds import SequentialSeeds, listed_seeds
from ftlit.study.plan.select import SelectSettings, check_used
from ftlit.study.plan.settings import CompareSettings, Keep, LaunchSettings, Study
from ftlit.util.arguments.types import check_type, settings_object
from ftlit.util.settings import parse_yaml, read_yaml, with_value, with_values

TYPES: dict[str, Any] = {
    "name": str | int | float | None,
    "question": str | None,
    "set": dict[str, Any] | None,
    "axes": dict[str, Any],
    "exclude": list[dict[str, Any]] | None,
    "seed_keys": list[str] | None,
    "folder": str | None,
    "keep": Keep,
}
STUDY_FILE = "study.yaml"  # in the folder of a study: its file as it was last run
KEYS = ("name", "question", "base", "set", "axes", "design", "exclude", "seeds", "seed_keys", "select", "compare", "folder",
        "launch", "keep")  # fmt: skip


def read_study(path: Path, overrides: dict[str, Any] | None = None) -> Study:
    """Read a study file.

    Args:
        path: The file, or the folder of a study that has been run.
        overrides: Values that replace those of the file, by keys with dots.

    Raises:
        UserError: A key or value in the file is wrong.
    """
    stored = {}
    if path.is_dir():
        path, stored = _file_in(path), {"folder": str(path)}
    given = _overridden(read_yaml(path), {**stored, **(overrides or {})})
    _check_keys(given, path)
    name = str(given.get("name") or path.stem)
    experiments = _bases(given["base"], path)
    bases = {label: with_values(base, given.get("set") or {}) for label, base in experiments.items()}
    axes = {str(axis): axis_levels(str(axis), levels) for axis, levels in given["axes"].items()}
    select = _select(given.get("select"), bool(stored))
    launch, keep = settings_object(LaunchSettings, "launch", given.get("launch") or {}), given.get("keep", "best")
    seeds, looks = _seeds(given.get("seeds", [0]))
    return Study(
        name=name,
        question=str(given.get("question") or ""),
        bases=bases,
        axes=axes,
        design=given.get("design", "grid"),
        exclude=[{str(k): str(v) for k, v in levels.items()} for levels in given.get("exclude") or []],
        seeds=seeds,
        looks=looks,
        seed_keys=list(given.get("seed_keys") or ["seed_everything"]),
        select=select,
        compare=_compare(given["compare"], axes),
        folder=Path(given.get("folder") or Path("runs/studies") / name),
        launch=launch,
        keep=keep,
        content={**given, "name": name, "base": experiments, **_written(given.get("select"), select)},
    )


def _check_keys(given: dict[str, Any], path: Path) -> None:
    if unknown := [str(key) for key in given if key not in KEYS]:
        raise UserError(f"{path} has the key {unknown[0]!r}. {near(unknown[0], KEYS)}")
    if missing := [key for key in ("base", "axes", "compare") if not given.get(key)]:
        raise UserError(f"{path} needs the key {missing[0]!r}")
    for key, hint in TYPES.items():
        if key in given:
            check_type(hint, key, given[key])


def _file_in(folder: Path) -> Path:
    """The file that the study in a folder was last run with."""
    if not (folder / STUDY_FILE).is_file():
        raise UserError(f"{folder} holds no study: it has no {STUDY_FILE}; expected a study file or the folder of a study")
    return folder / STUDY_FILE


def _overridden(given: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    for key, value in overrides.items():
        first, _, rest = key.partition(".")
        if first == "set" and rest:  # the keys inside `set` contain dots
            given = {**given, "set": {**(given.get("set") or {}), rest: value}}
        else:
            given = with_value(given, key, value)
    return given


def _bases(base: Any, path: Path) -> dict[str, dict[str, Any]]:
    """The experiments by name. Files that the study names have been read already."""
    if isinstance(base, dict) and "model" not in base:
        named = {str(label): config for label, config in base.items()}
    else:
        configs = base if isinstance(base, list) else [base]
        named = {str(i) if len(configs) > 1 else path.stem: config for i, config in enumerate(configs)}
    for label, config in named.items():
        if isinstance(config, str):
            raise UserError(f"{path}: base {config!r} is not a YAML file; paths are relative to the folder of {path.name}")
        if not isinstance(config, dict) or "model" not in config:
            raise UserError(f"{path}: base {label!r} is not an experiment; it should have the keys model and data")
    return named


def _seeds(given: Any) -> tuple[list[int], tuple[int, ...]]:
    """The seeds of the repetitions, and the numbers of seeds at which results are looked at if these decide how many run."""
    if not isinstance(given, dict):
        return listed_seeds(given), ()
    settings: SequentialSeeds = settings_object(SequentialSeeds, "seeds", given)
    return list(range(settings.at_most)), settings.looks


def _select(given: Any, stored: bool) -> SelectSettings | None:
    """The selection; one in the folder of a study that does not say whether it is nested is not."""
    if not given:
        return None
    settings: SelectSettings = settings_object(
        SelectSettings, "select", {"nested": False, **given} if stored and isinstance(given, dict) else given
    )
    check_used(settings, given)
    return settings


def _written(given: Any, select: SelectSettings | None) -> dict[str, Any]:
    """The section `select` as it is written into the folder of a study: a nested one says so."""
    return {"select": {**given, "nested": True}} if select is not None and select.by_seed else {}


def _compare(given: Any, axes: dict[str, dict[str, Level]]) -> CompareSettings:
    compare: CompareSettings = settings_object(CompareSettings, "compare", given)
    if compare.axis is not None and compare.axis not in axes:
        raise UserError(f"compare.axis {compare.axis!r} is not an axis. {near(compare.axis, axes)}")
    if compare.baseline is None:
        axis = compare.axis or next(iter(axes))
    else:
        wanted, searched = str(compare.baseline), [compare.axis] if compare.axis else list(axes)
        holding = [axis for axis in searched if wanted in axes[axis]]
        if not holding:
            labels = [label for axis in searched for label in axes[axis]]
            raise UserError(f"compare.baseline {wanted!r} is not an arm. {near(wanted, labels)}")
        axis = holding[0]
    baseline = None if compare.baseline is None else str(compare.baseline)
    check_pairs(compare, axes[axis])
    return replace(compare, baseline=baseline, axis=axis)


def check_pairs(compare: CompareSettings, arms: Collection[str]) -> None:
    """Check that the pairs to compare are pairs of arms.

    Raises:
        UserError: One is not.
    """
    for pair in compare.pairs if isinstance(compare.pairs, list) else []:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise UserError(f"compare.pairs should list pairs of two different arms, such as [[lora, full]], got {pair}")
        if unknown := [label for label in pair if label not in arms]:
            raise UserError(f"compare.pairs names {unknown[0]!r}, which is not an arm. {near(unknown[0], arms)}")


def parse_overrides(args: list[str]) -> dict[str, Any]:
    """The values of ``--key value`` and ``--key=value`` on the command line, by key.

    Raises:
        UserError: A key is unknown or has no value.
    """
    found: dict[str, Any] = {}
    rest = list(args)
    while rest:
        written, equals, value = rest.pop(0).partition("=")
        key = written.removeprefix("--")
        if not written.startswith("--") or key.split(".")[0] not in KEYS:
            raise UserError(f"no option {written!r}. {near(key.split('.')[0], [f'--{name}' for name in KEYS])}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"{written} needs a value")
            value = rest.pop(0)
        found[key] = parse_yaml(value)
    return found

"""The config of an update: that of the earlier run, with the new data and what acts against forgetting."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ftlit.data.replay.choice import Way
from ftlit.data.replay.earlier import earlier_data
from ftlit.errors import UserError
from ftlit.runs.reading import RunFolder
from ftlit.util.settings import parse_yaml, value_at, with_values

Keeping = Literal["L2SP", "EWC", "distil"]
# Options of the data that are about the rows of one source, and say nothing about another.
OF_ONE_SOURCE = ("config_name", "revision", "splits", "limit_train", "limit_validation", "limit_test", "shots")


@dataclass(frozen=True)
class Plan:
    """What an update was asked for.

    Args:
        run: Folder of the earlier run.
        data: The new data set.
        output: Folder of the new run.
        replay: Share of rows of the earlier run in train.
        by: Which rows of it.
        keep: What else acts against forgetting.
        options: Further options of fit, such as ``trainer.max_epochs=2``.
        test_share: Share of the new train that becomes test if the new data have none.
    """

    run: str
    data: str
    output: str
    replay: float
    by: Way
    keep: Keeping | None
    options: list[str]
    test_share: float

    @property
    def changes(self) -> dict[str, Any]:
        """The values of further options by key."""
        return given_changes(self.options)


def given_changes(options: Sequence[str]) -> dict[str, Any]:
    """Read options such as ``trainer.max_epochs=2``.

    Raises:
        UserError: One has no name or no value.
    """
    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not (key.strip() and equals):
            raise UserError(f"--set {option!r} should be an option of fit with its value, such as trainer.max_epochs=2")
        found[key.strip().removeprefix("--")] = parse_yaml(value)
    return found


def new_config(plan: Plan, trust_remote_code: bool = False) -> dict[str, Any]:
    """Return the config of the new run.

    Raises:
        UserError: The new data cannot be read, or the earlier run has none that forgetting could be measured on.
    """
    config = RunFolder(plan.run).config
    loss = value_at(config, "model.loss")
    if isinstance(loss, dict) and loss["class_path"].rsplit(".", 1)[-1] == "Distillation":
        loss = value_at(loss, "task_loss")  # what its own teacher taught is in its weights
    values: dict[str, Any] = {
        **{"run_dir": plan.output, "resume": False, "overwrite": False, "ckpt_path": None, "test_after_fit": True},
        **{"model.init_from": plan.run, "model.loss": loss, "model.teacher": None, "model.keep": None},
        **{f"data.{name}": value for name, value in _data_values(plan, trust_remote_code).items()},
    }
    if plan.keep == "distil":
        values |= {"model.teacher": plan.run, "model.loss": _object("ftlit.losses.Distillation", task_loss=loss)}
    elif plan.keep:
        values["model.keep"] = _object(f"ftlit.optimization.keep.{plan.keep}")
    return with_values(config, values)


def _data_values(plan: Plan, trust_remote_code: bool) -> dict[str, Any]:
    """The options of the data: those of the new source, and labels of which the old ones come first."""
    own = {key.removeprefix("data."): value for key, value in plan.changes.items() if key.startswith("data.")}
    source: dict[str, Any] = {"dataset": plan.data, **dict.fromkeys(OF_ONE_SOURCE), **own, "replay": None}
    old = earlier_data(plan.run, "--run", trust_remote_code)
    plain = {name: value for name, value in source.items() if name in old.hparams and "." not in name}
    new = earlier_data(plan.run, "--run", trust_remote_code, **plain, **_without_labels(old, own))
    values: dict[str, Any] = dict.fromkeys(OF_ONE_SOURCE) | {"dataset": plan.data, "replay": None, "test_share": None}
    if "train" not in new.rows.raw:
        raise UserError(f"--data {plan.data!r} has no train split; it has {', '.join(new.rows.raw)}")
    if "test" not in new.rows.raw and "test_share" not in own:
        values["test_share"] = plan.test_share
    labels = [getattr(data, "label_names", None) for data in (old, new)]
    if labels[0] and labels[1] and "label_names" not in own:
        values["label_names"] = union(labels[0], labels[1])
    if plan.replay:
        values["replay"] = _object("ftlit.data.Replay", run=plan.run, share=plan.replay, by=plan.by)
    for name in ("label_noise", "rebalance"):  # of studies, and of the balance of the old labels
        values |= {name: type(getattr(old, name))()} if hasattr(old, name) else {}
    return values


def _without_labels(old: Any, own: dict[str, Any]) -> dict[str, Any]:
    return {"label_names": own.get("label_names")} if "label_names" in old.hparams else {}


def union(old: list[str], new: list[str]) -> list[str]:
    """The labels of both, the old ones first; numbers that count the old labels are these."""
    if all(name.isdecimal() and int(name) < len(old) for name in new) and not any(name.isdecimal() for name in old):
        return list(old)
    return [*old, *(name for name in new if name not in old)]


def _object(class_path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": class_path, **({"init_args": arguments} if arguments else {})}


def default_output(run: Path) -> Path:
    """The folder of the new run, beside the earlier one."""
    return run.with_name(f"{run.resolve().name}-updated")

"""Compare the config of a resumed run with that of the command."""

from typing import Any

from ftlit.errors import UserError
from ftlit.util.options import option
from ftlit.util.settings import flat


def check_same_config(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that a run is resumed with the same config. Otherwise the checkpoint or config.yaml would not match the model.

    Args:
        then: The run's config with all defaults.
        now: The config of the command.

    Raises:
        UserError: The configs differ; the message lists the changes.
    """
    before, after = ({key: value for key, value in flat(whole) if _must_match(key)} for whole in (then, now))
    changed = [key for key in {**before, **after} if not option(key).moves and before.get(key) != after.get(key)]
    classes = [key.removesuffix("class_path") for key in changed if key.endswith(".class_path")]
    changed = [key for key in changed if key.endswith(".class_path") or not key.startswith(tuple(classes))]
    if changed:
        said = "; ".join(f"{key.removesuffix('.class_path')} was {before.get(key)}, is {after.get(key)}" for key in changed)
        raise UserError(
            f"--resume continues exactly where the run stopped, but {said}; undo the change, train again with --overwrite, or "
            "start from the weights of the run in another --run_dir with --model.init_from"
        )


def _must_match(key: str) -> bool:
    """Whether the checkpoint or the results of the run depend on a key. Options of the data are compared by their content."""
    return key.startswith("model.") or "training" in option(key).affects

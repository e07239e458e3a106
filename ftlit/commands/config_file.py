"""Write config.yaml for a run that was started from Python, in the form that the command line reads."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from lightning import Trainer

from ftlit.commands.links import LINKED
from ftlit.data.shared.base import TaskData
from ftlit.tasks import TaskModule
from ftlit.training.trainer import RunOptions, trainer_arguments
from ftlit.util.arguments.plain import plain_arguments
from ftlit.util.private import import_path

INTERNAL = ("_class_path", "_instantiator")  # what Lightning keeps beside hyper-parameters


def written_config(
    model: TaskModule, data: TaskData, run_dir: Path, trainer: dict[str, Any], options: RunOptions, others: dict[str, Any]
) -> str:
    """Return the config that reproduces a run. Objects without a class path and plain arguments are left out.

    The hyper-parameters of the model and the data are replaced by those of this config, so that checkpoints contain them.

    Args:
        model: The task.
        data: Its data.
        run_dir: The run's folder.
        trainer: Arguments of Lightning's Trainer.
        options: Options of the training.
        others: Other options of the command.
    """
    own = asdict(options)
    arguments, lost = plain_arguments(Trainer, trainer_arguments(trainer))
    lost = [f"trainer.{name}" for name in lost]
    config: dict[str, Any] = {"seed_everything": own.pop("seed"), "trainer": arguments}
    for key, module in (("model", model), ("data", data)):
        lost += [f"{key}.{name}" for name in _keep_plain_arguments(module)]
        init_args = {name: value for name, value in module.hparams.items() if name not in (*INTERNAL, *LINKED[key])}
        config[key] = {"class_path": module.hparams["_class_path"], "init_args": init_args}
    text = yaml.safe_dump({**config, "run_dir": str(run_dir), **others, **own}, sort_keys=False, allow_unicode=True)
    return f"# Without {', '.join(lost)}: no class path and arguments describe them.\n{text}" if lost else text


def _keep_plain_arguments(module: TaskModule | TaskData) -> list[str]:
    """Replace objects in a module's hyper-parameters by class paths and arguments; return the names of those left out."""
    if "_instantiator" in module.hparams:  # it was made from such a config
        return []
    arguments, lost = plain_arguments(type(module), dict(module.hparams))
    given = {"_class_path": import_path(type(module)), **arguments, "_instantiator": "lightning.pytorch.cli.instantiate_module"}
    module.hparams.clear()
    module.hparams.update(given)
    return lost

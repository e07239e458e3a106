"""Build the task and the data module that a checkpoint or an exported folder describes."""

from typing import Any

from lightning.pytorch.cli import instantiate_module

from ftlit.errors import UserError, user_error
from ftlit.util.trust import check_class, opening

UNUSED_OPTIMIZER = {"class_path": "torch.optim.AdamW"}  # that of the run may be of a package that is not here


def build(kind: Any, arguments: Any, where: object, trust_remote_code: bool = False) -> Any:
    """Instantiate a task or data module from the hyper-parameters that a folder contains, without an optimizer of its own.

    Args:
        kind: Base class of the task or data module.
        arguments: The hyper-parameters.
        where: The file that contains them, for error messages.
        trust_remote_code: Whether the user allows to run code that comes with the model. What the file says has no effect.

    Raises:
        UserError: If the class raises it, or there is a class that the user has not trusted.
    """
    if not isinstance(arguments, dict) or "_class_path" not in arguments:
        raise UserError(f"{where} was not written by ftlit: it does not name the class of its {kind.__name__}")
    check_class(arguments["_class_path"])
    changed = {"trust_remote_code": trust_remote_code, "optimizer": UNUSED_OPTIMIZER}
    given = {name: changed.get(name, value) for name, value in arguments.items() if name != "_instantiator"}
    if trust_remote_code:
        given["trust_remote_code"] = True
    try:
        with opening(trust_remote_code):
            return instantiate_module(kind, given)
    except ValueError as error:  # in which the parser wraps what was raised inside the class
        raise (user_error(error) or error) from None

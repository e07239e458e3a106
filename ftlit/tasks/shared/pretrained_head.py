"""Heads of a task: the default, and those that are trained already, in the backbone or in an earlier run."""

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from ftlit.heads import PooledHead, TaskHead
from ftlit.models.backbones import load_config, load_model
from ftlit.tuning import Frozen
from ftlit.tuning.base import set_known_rows
from ftlit.util.arguments.plain import plain

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule

UNNAMED = re.compile(r"LABEL_(\d+)")  # what transformers calls labels without names


def set_default_head(task: "TaskModule") -> None:
    """Without a head, take that of transformers, or `PooledHead` where that would read a pooler that `Frozen` freezes.

    A pooler is trained for the task of its pretraining, such as the next sentence; its output is of little use to others.
    The hyper-parameters name the head from then on, since an export has another tuning method.
    """
    if task.head is not None:
        return
    task.head = PooledHead() if _probes_pooler(task) else TaskHead()
    task.hparams["head"] = plain(task.head) if "_instantiator" in task.hparams else task.head


def _probes_pooler(task: "TaskModule") -> bool:
    if not isinstance(task.tuning, Frozen) or task.auto_class is not AutoModelForSequenceClassification:
        return False
    with torch.device("meta"):
        backbone, trust = task.hparams["backbone"], task.hparams["trust_remote_code"]
        model: Any = load_model(task.auto_class, backbone, trust, pretrained=False)[0]
    encoder = getattr(model, model.base_model_prefix, model)
    return not model.config.is_encoder_decoder and getattr(encoder, "pooler", None) is not None


def head_note(task: "TaskModule", fresh: list[nn.Parameter]) -> str | None:
    """Return a sentence about a linear probe on a pooler that does not train, or None."""
    if not (isinstance(task.head, TaskHead) and _probes_pooler(task)):
        return None
    pooler, random = getattr(task.backbone, "pooler", None), {id(weight) for weight in fresh}
    if pooler is None or any(id(weight) in random for weight in pooler.parameters()):
        return None
    return (
        "model.head TaskHead reads the pooler, which model.tuning Frozen keeps as it was pretrained for another task; a probe "
        "of the tokens' mean is usually better: model.head PooledHead"
    )


def match_labels(task: Any, fresh: list[nn.Parameter]) -> list[nn.Parameter]:
    """Give the rows of a pretrained head to the labels of the same names, or begin its last layer anew for other labels.

    What was done is added to the notes of the task.

    Args:
        task: The task, whose model has its labels in the order of the data.
        fresh: The newly initialized weights of the model.

    Returns:
        The newly initialized weights, which include those that begin anew.
    """
    layer = _last_layer(task.model)
    if not (getattr(task, "label_names", None) and isinstance(task.head, TaskHead) and task.pretrained) or layer is None:
        return fresh
    labels: dict[Any, str] = load_config(task.hparams["backbone"], task.hparams["trust_remote_code"]).id2label or {}
    known = [str(labels[i]) for i in sorted(labels, key=int)]
    random, weights = {id(weight) for weight in fresh}, list(layer.parameters())
    named = not all(map(UNNAMED.fullmatch, known))
    if any(id(weight) in random for weight in weights):
        if named and len(known) != len(task.label_names):
            task.notes.append(_begins_anew(known, task.label_names))
        return fresh
    rows = matching_rows(task.label_names, known)
    if rows is None and named:
        _begin_anew(task.model, layer)
        task.notes.append(_begins_anew(known, task.label_names))
        return [*fresh, *weights]
    if rows is None:
        task.notes.append(
            f"the head of model.backbone names no labels; its rows are taken for {_shown(task.label_names)}, in this order"
        )
    elif rows != sorted(rows):
        with torch.no_grad():
            for weight in weights:
                weight.copy_(weight[rows])
        task.notes.append(f"the rows of the pretrained head were put into the order of the labels {_shown(task.label_names)}")
    return fresh


def matching_rows(names: list[str], known: list[str]) -> list[int] | None:
    """Return the row of each label among the labels of a pretrained head, or None if these are others.

    Upper and lower case count as the same where that leaves no doubt, and `LABEL_3` is the label `3`.
    """
    for form in (str, str.casefold, lambda name: UNNAMED.sub(r"\1", name)):
        places = {form(name): i for i, name in enumerate(known)}
        wanted = [form(name) for name in names]
        if len(places) == len(known) and places.keys() == set(wanted) and len(wanted) == len(places):
            return [places[name] for name in wanted]
    return None


def copy_head(task: Any, earlier: Any, own: dict[str, Tensor], given: dict[str, Tensor]) -> set[int]:
    """Copy the head of an earlier run of the same task if it fits; the rows of labels that it does not know begin anew.

    What was done is added to the notes of the task.

    Args:
        task: The task.
        earlier: That of the earlier run.
        own: The weights of the head by name, which are changed in place.
        given: Those of the earlier run.

    Returns:
        The ids of the weights that were copied as a whole.
    """
    names, known = (getattr(one, "label_names", []) for one in (task, earlier))
    layer = _last_layer(task.model)
    rows = {name: id(weight) for name, weight in own.items() if names and layer is not None and _is_in(weight, layer)}
    shapes = [{name: w.shape[1:] if name in rows else w.shape for name, w in part.items()} for part in (own, given)]
    places = [(i, known.index(name)) for i, name in enumerate(names) if name in known]
    if shapes[0] != shapes[1] or bool(rows) != bool(names) or (names and not places):
        return set()
    for name, weight in own.items():
        if name in rows:
            _copy_rows(weight, given[name], places)
        else:
            weight.data.copy_(given[name])
    if hasattr(task, "deviation"):
        _change_unit(layer, (earlier.mean, earlier.deviation), (task.mean, task.deviation))
    new = [name for name in names if name not in known]
    task.notes.append("the head begins with that of model.init_from" + (f"; new are the labels {_shown(new)}" if new else ""))
    return {id(weight) for name, weight in own.items() if not (new and name in rows)}


def _is_in(weight: Tensor, layer: nn.Module) -> bool:
    return any(weight is own for own in layer.parameters())


def _copy_rows(weight: Any, given: Tensor, places: list[tuple[int, int]]) -> None:
    """Copy rows of a weight, given their places in it and in the earlier one, and note which they are."""
    to, of = map(list, zip(*places, strict=True))
    weight.data[to] = given[of].to(weight.dtype)
    chosen = torch.zeros(len(weight), dtype=torch.bool)
    chosen[to] = True
    set_known_rows(weight, chosen)


def _change_unit(layer: Any, earlier: tuple[float, float], own: tuple[float, float]) -> None:
    """Let the last layer of a regression predict in another unit, given mean and deviation of the target in both."""
    with torch.no_grad():
        layer.weight.mul_(earlier[1] / own[1])
        layer.bias.copy_((layer.bias * earlier[1] + earlier[0] - own[0]) / own[1])


def _outside(model: Any) -> list[tuple[str, nn.Module]]:
    """The modules outside the backbone."""
    prefix = model.base_model_prefix
    return [(name, part) for name, part in model.named_modules() if name and name.split(".")[0] != prefix]


def _last_layer(model: Any) -> nn.Linear | None:
    """The layer with a row for each label: the last one outside the backbone."""
    if not isinstance(getattr(model, model.base_model_prefix, None), nn.Module):
        return None
    layers = [part for _, part in _outside(model) if isinstance(part, nn.Linear)]
    return layers[-1] if layers else None


def _begin_anew(model: Any, layer: nn.Linear) -> None:
    for weight in layer.parameters():
        weight._is_hf_initialized = False  # type: ignore[attr-defined]  # else transformers would leave it as it is
    layer._is_hf_initialized = False  # type: ignore[assignment]
    model._init_weights(layer)


def _begins_anew(known: list[str], names: list[str]) -> str:
    return (
        f"model.backbone is a classifier of the labels {_shown(known)}, and the data have {_shown(names)}: the last layer of "
        "its head begins anew"
    )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

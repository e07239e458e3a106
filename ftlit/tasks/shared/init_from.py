"""Start from an earlier run, whose weights replace the pretrained ones before the tuning method is applied."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.models.backbones import load_config, locate
from ftlit.models.encoder_decoder import decoder_tokenizer
from ftlit.runs.checkpoint import load_task
from ftlit.runs.files import BEST
from ftlit.runs.reading import RunFolder
from ftlit.tasks.shared.pretrained_head import copy_head

if TYPE_CHECKING:
    from ftlit.tasks.shared.base import TaskModule

Build = Callable[[str], tuple[nn.Module, list[nn.Parameter]]]
ADDED = ".extra"  # embeddings of tokens that the data added


class Earlier(NamedTuple):
    """The weights of an earlier run or model by name, and the folder of its configuration and tokenizer."""

    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    task: "TaskModule | None"  # None for a folder of Hugging Face
    origin: str


def initialise(
    model: Any,
    fresh: list[nn.Parameter],
    source: str,
    name: str,
    build: Build,
    task: "TaskModule",
) -> tuple[list[nn.Parameter], list[Tensor]]:
    """Copy the weights of an earlier run or model into the backbone of a model.

    Args:
        model: The loaded model, which is changed in place.
        fresh: The newly initialized weights of `model`.
        source: Folder of a run or of a Hugging Face model.
        name: The name by which the backbone was loaded.
        build: Builds the model of a Hugging Face folder, and returns it with its newly initialized weights.
        task: The task of `model`. Its head is copied too, as far as it fits, if the earlier run trained the same task; that of
            a language model comes from a Hugging Face folder, too.

    Returns:
        The weights in `fresh` that the earlier model lacks too, and its embeddings of added tokens: in its input, and in the
        output of a language model.

    Raises:
        UserError: The folder contains no finished run or model, or one that does not fit.
    """
    remote_code = task.hparams["trust_remote_code"]
    earlier = _earlier(source, build, remote_code)
    kinds = [load_config(place, remote_code).model_type for place in (earlier.origin, name)]
    if kinds[0] != kinds[1]:
        raise UserError(f"model.init_from {source!r} is a {kinds[0]} model, and model.backbone {name!r} is {kinds[1]}")
    _check_vocabulary(source, earlier.origin, name, remote_code)
    backbone = _part(_backbone(model), earlier.backbone)
    own = backbone.state_dict(keep_vars=True)
    _check_fit(source, _shapes(own), _shapes(earlier.backbone))
    known = _copy(own, earlier.backbone)
    same = type(earlier.task) is type(task)
    if task.pretrained_head and (same or earlier.task is None):
        known |= _copy(_head(model), earlier.head)
    elif same:
        known |= copy_head(task, earlier.task, _head(model), earlier.head)
    both = (*earlier.backbone.items(), *earlier.head.items())
    added = [weight for key, weight in both if key.endswith(ADDED)]
    return [weight for weight in fresh if id(weight) not in known], added


def _backbone(model: Any) -> Any:
    return getattr(model, model.base_model_prefix, model)


def _head(model: Any) -> dict[str, Tensor]:
    """Return the weights of a model outside its backbone."""
    inside = {id(weight) for weight in _backbone(model).state_dict(keep_vars=True).values()}
    return {key: weight for key, weight in model.state_dict(keep_vars=True).items() if id(weight) not in inside}


def _part(backbone: Any, weights: dict[str, Tensor]) -> nn.Module:
    """Return the backbone, or only its encoder if two models are combined and the earlier model is a single one."""
    joined = backbone.config.model_type == "encoder-decoder"
    return backbone.encoder if joined and not any(key.startswith("decoder.") for key in weights) else backbone


def _copy(own: dict[str, Tensor], given: dict[str, Tensor]) -> set[int]:
    """Copy the weights with the same names and shapes, and return the ids of the overwritten ones."""
    both = [key for key in own.keys() & given.keys() if own[key].shape == given[key].shape]
    for key in both:
        own[key].data.copy_(given[key])
    return {id(own[key]) for key in both}


def _shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(weight.shape) for key, weight in weights.items() if not key.endswith(ADDED)}


def _earlier(source: str, build: Build, remote_code: bool) -> Earlier:
    folder = Path(source).expanduser()
    run = RunFolder(folder)
    if checkpoint := run.best_checkpoint or run.last_checkpoint:
        _check_finished(source, run)
        task = load_task(checkpoint, remote_code)
        head = _head(task.model)
        return Earlier(task.tuning.merge(task.backbone).state_dict(), head, task, task.hparams["backbone"])
    if (folder / "config.json").is_file():
        model, fresh = build(str(folder))
        random = {id(weight) for weight in fresh}
        held = [_backbone(model).state_dict(keep_vars=True), _head(model)]
        backbone, head = ({key: w.detach() for key, w in part.items() if id(w) not in random} for part in held)
        return Earlier(backbone, head, None, str(folder))
    raise UserError(
        f"model.init_from {source!r} holds neither a finished run ({BEST}) nor a Hugging Face model "
        "(config.json); expected the folder of one of them"
    )


def _check_finished(source: str, run: RunFolder) -> None:
    run.check_schema()
    if not run.finished:
        raise UserError(
            f"model.init_from {source!r} is a run that has not finished: run.json says {run.status or 'nothing'}; "
            "finish it with --resume"
        )


def _check_vocabulary(source: str, origin: str, name: str, remote_code: bool) -> None:
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "spiece.model")
    if locate(origin) == locate(name) or not any((Path(locate(origin)) / file).is_file() for file in names):
        return  # the same, or a folder of weights alone
    tokenizers = [decoder_tokenizer(place, remote_code) for place in (origin, name)]
    earlier, own = (tokenizer.get_vocab() for tokenizer in tokenizers)
    if earlier != own:
        other = sum(own.get(token) != i for token, i in earlier.items())
        raise UserError(
            f"model.init_from {source!r} has another vocabulary than model.backbone {name!r}: {other} of its "
            f"{len(earlier)} tokens have other ids there or none; set model.backbone to the one that it was trained from"
        )


def _check_fit(source: str, own: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]) -> None:
    if wrong := sorted(key for key in own.keys() & given.keys() if own[key] != given[key]):
        key = wrong[0]
        raise UserError(
            f"model.init_from {source!r} does not fit model.backbone: {len(wrong)} weights differ in shape, "
            f"such as {key} with {given[key]} there and {own[key]} here; set model.backbone to the one it was trained from"
        )
    # Language models have no pooler and classifiers do; every other weight must be in both.
    if odd := sorted(key for key in own.keys() ^ given.keys() if "pooler" not in key.split(".")):
        raise UserError(
            f"model.init_from {source!r} does not fit model.backbone: {len(odd)} weights are in one of them only, "
            f"such as {odd[0]}; set model.backbone to the one that it was trained from"
        )

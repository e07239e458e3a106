"""Start from an earlier run: its backbone's weights in the place of the pretrained ones, before tuning is applied."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from transformers import AutoTokenizer

from ftlit.backbones import load_config, locate
from ftlit.checkpoint import BEST, LAST, load_task
from ftlit.errors import UserError

Build = Callable[[str], tuple[nn.Module, list[nn.Parameter]]]


def initialise(
    backbone: nn.Module, fresh: list[nn.Parameter], source: str, name: str, build: Build, remote_code: bool = False
) -> list[nn.Parameter]:
    """Give a backbone the weights of an earlier run or model; heads are left out.

    Args:
        backbone: The backbone as it was loaded, changed in place.
        fresh: Its weights, and those of its head, that are freshly initialised.
        source: Folder of a run or of a Hugging Face model.
        name: The name by which `backbone` was loaded.
        build: Makes the backbone of a Hugging Face folder, and gives its freshly initialised weights.
        remote_code: Whether code that comes with a model may run.

    Returns:
        Those of `fresh` that the earlier model did not have either.

    Raises:
        UserError: There is no such run or model, or it does not fit.
    """
    weights, origin = _weights(source, build)
    kinds = [load_config(place, remote_code).model_type for place in (origin, name)]
    if kinds[0] != kinds[1]:
        raise UserError(f"model.init_from {source!r} is a {kinds[0]} model, and model.backbone {name!r} is {kinds[1]}")
    _check_vocabulary(source, origin, name, remote_code)
    own = backbone.state_dict(keep_vars=True)
    _check_fit(source, {key: tuple(w.shape) for key, w in own.items()}, {key: tuple(w.shape) for key, w in weights.items()})
    for key in own.keys() & weights.keys():
        own[key].data.copy_(weights[key])
    known = {id(own[key]) for key in own.keys() & weights.keys()}
    return [weight for weight in fresh if id(weight) not in known]


def _weights(source: str, build: Build) -> tuple[dict[str, Tensor], str]:
    """Weights of the earlier backbone by name, and where its configuration and tokenizer are."""
    folder = Path(source).expanduser()
    for checkpoint in (folder / BEST, folder / LAST):
        if checkpoint.is_file():
            task = load_task(checkpoint)
            return task.tuning.merge(task.backbone).state_dict(), task.hparams["backbone"]
    if (folder / "config.json").is_file():
        backbone, fresh = build(str(folder))
        random = {id(weight) for weight in fresh}
        found = backbone.state_dict(keep_vars=True)
        return {key: weight.detach() for key, weight in found.items() if id(weight) not in random}, str(folder)
    raise UserError(
        f"model.init_from {source!r} holds neither a finished run (checkpoints/best.ckpt) nor a Hugging Face model "
        "(config.json); give the folder of one"
    )


def _check_vocabulary(source: str, origin: str, name: str, remote_code: bool) -> None:
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "spiece.model")
    if locate(origin) == locate(name) or not any((Path(locate(origin)) / file).is_file() for file in names):
        return  # the same, or a folder of weights alone
    tokenizers = [AutoTokenizer.from_pretrained(locate(place), trust_remote_code=remote_code) for place in (origin, name)]
    earlier, own = (tokenizer.get_vocab() for tokenizer in tokenizers)
    if earlier != own:
        other = sum(own.get(token) != i for token, i in earlier.items())
        raise UserError(
            f"model.init_from {source!r} has another vocabulary than model.backbone {name!r}: {other} of its "
            f"{len(earlier)} tokens have other ids there or none; give the backbone that it was trained from"
        )


def _check_fit(source: str, own: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]) -> None:
    if wrong := sorted(key for key in own.keys() & given.keys() if own[key] != given[key]):
        key = wrong[0]
        raise UserError(
            f"model.init_from {source!r} does not fit model.backbone: {len(wrong)} weights differ in shape, "
            f"such as {key} with {given[key]} there and {own[key]} here; give the backbone that it was trained from"
        )
    # Language models have no pooler and classifiers do; every other weight must be in both.
    if odd := sorted(key for key in own.keys() ^ given.keys() if "pooler" not in key.split(".")):
        raise UserError(
            f"model.init_from {source!r} does not fit model.backbone: {len(odd)} weights are in one of them only, "
            f"such as {odd[0]}; give the backbone that it was trained from"
        )

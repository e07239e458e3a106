"""Load pretrained models, their configurations and tokenizers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from ftlit.errors import UserError
from ftlit.models.checks.exports import no_backbone
from ftlit.models.checks.files import naming_damaged_files
from ftlit.models.checks.tokenizers import check_vocabulary, drop_unknown_types, has_tokenizer_files, missing_tokenizer
from ftlit.models.checks.weights import check_weights, say_unused_layers
from ftlit.models.gguf import convert_gguf
from ftlit.models.kept_layers import fewer_layers, keep_layers
from ftlit.util.files import read_json, resolve_package_path
from ftlit.util.hub import LOADING_ERRORS, unpinned
from ftlit.util.trust import remote_code

_weightless = ContextVar("weightless", default=False)


def locate(backbone: str) -> str:
    """Return the local folder of a backbone, or its name if it is on the hub.

    A GGUF file is converted into a folder first.

    Args:
        backbone: Folder, GGUF file, hub name with or without ``@revision``, or ``package:<module>/<path>``.

    Raises:
        UserError: If the package, folder or file does not exist, or the file cannot be converted.
    """
    backbone, _ = unpinned(backbone)
    path = resolve_package_path(backbone) if backbone.startswith("package:") else Path(backbone).expanduser()
    if path.is_dir():
        check_adapter_config(path)
        return str(path)
    if path.suffix.lower() == ".gguf":
        return str(convert_gguf(path))
    if backbone.startswith((".", "/", "~")) or backbone.count("/") > 1 or path.is_file():
        raise UserError(
            f"model.backbone {backbone!r} is not a folder; expected a Hugging Face model folder, a .gguf file or a hub name"
        )
    return backbone


def origin(backbone: str) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` that say which model to load."""
    revision = unpinned(backbone)[1]
    found = {"pretrained_model_name_or_path": locate(backbone)}
    return found if revision is None else {**found, "revision": revision}


def check_adapter_config(folder: Path) -> None:
    """Check that an adapter in a model's folder, which transformers adds to the model, names no module to import.

    Raises:
        UserError: It does.
    """
    if read_json(folder / "adapter_config.json").get("megatron_config"):
        raise UserError(
            f"{folder / 'adapter_config.json'} sets megatron_config, with which peft would import a module; ftlit does not use "
            "Megatron, so remove it from the file"
        )


def _unreachable(backbone: str, error: Exception) -> UserError:
    folder = Path(locate(backbone))
    if not (folder / "config.json").is_file() and (exported := no_backbone(backbone, folder)):
        return exported
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code=True" in str(error):
        return UserError(
            f"model.backbone {backbone!r} comes with code of its own, which runs only if your command allows it: set "
            "--model.trust_remote_code true (fit, validate, test), or --trust_remote_code (predict, export)"
        )
    if "gated repo" in reason:
        return UserError(f"model.backbone {backbone!r} is gated: set HF_TOKEN to the token of an account that may read it")
    return UserError(
        f"model.backbone {backbone!r} could not be loaded: it is neither a local model folder, nor in the local cache, "
        f"nor reachable on the hub ({reason}); expected a folder, a hub name, or package:<module>/<path>"
    )


def _load_error(auto_class: Any, backbone: str, trust_remote_code: bool, error: Exception) -> UserError:
    if str(error).startswith("Error no file named") and (exported := no_backbone(backbone, Path(locate(backbone)))):
        return exported
    if not str(error).startswith("Unrecognized configuration class"):
        return _unreachable(backbone, error)
    kind, head = load_config(backbone, trust_remote_code).model_type, auto_class.__name__.removeprefix("AutoModelFor")
    return UserError(f"model.backbone {backbone!r} is a {kind}, which has no head for {head}; choose another backbone")


@naming_damaged_files(lambda backbone, *_, **__: locate(backbone))
def load_config(backbone: str, trust_remote_code: bool = False) -> PretrainedConfig:
    """Load the configuration of a backbone.

    Raises:
        UserError: If the backbone cannot be found.
    """
    try:
        return AutoConfig.from_pretrained(**origin(backbone), trust_remote_code=remote_code(trust_remote_code))
    except LOADING_ERRORS as error:
        raise _unreachable(backbone, error) from error


def _dropout_settings(config: PretrainedConfig, dropout: float) -> dict[str, float]:
    """Set every dropout of a configuration, such as ``hidden_dropout_prob`` and ``attn_pdrop``."""
    return {name: dropout for name, value in config.to_dict().items() if "drop" in name and isinstance(value, float)}


@naming_damaged_files(lambda auto_class, backbone, *_, **__: locate(backbone))
def load_model(
    auto_class: Any,
    backbone: str,
    trust_remote_code: bool = False,
    pretrained: bool = True,
    loading: dict[str, Any] | None = None,
    dropout: float | None = None,
    kept: list[int] | None = None,
    **config: Any,
) -> tuple[nn.Module, list[nn.Parameter]]:
    """Load a model in float32 and training mode.

    Args:
        auto_class: One of the ``AutoModel…`` classes of transformers.
        backbone: Folder, hub name, or ``package:<module>/<path>``.
        trust_remote_code: Whether to run code that comes with the model.
        pretrained: Whether to load the pretrained weights. False initializes all weights randomly.
        loading: Additional arguments of ``from_pretrained``.
        dropout: Dropout probability of all layers. None keeps the values of the configuration.
        kept: Numbers of the layers to keep, from 0 at the bottom. None keeps all.
        config: Changes to the model's configuration, such as ``num_labels``.

    Returns:
        The model and its newly initialized weights, which must train with every tuning method.

    Raises:
        UserError: If the backbone cannot be found, or has no such head or layers.
    """
    if dropout is not None:
        config = {**_dropout_settings(load_config(backbone, trust_remote_code), dropout), **config}
    if getattr(load_config(backbone, trust_remote_code), "attention_type", None) == "block_sparse":
        config = {"attention_type": "original_full", **config}  # else BigBird switches to it at the first batch of short texts
    fewer = {} if kept is None else fewer_layers(load_config(backbone, trust_remote_code), kept, backbone)
    if not pretrained:
        return _random_model(auto_class, backbone, trust_remote_code, {**fewer, **config})
    model, new = _pretrained_model(auto_class, backbone, trust_remote_code, loading or {}, config)
    _set_decoder_start(model, backbone)
    if kept is not None:
        small = {**fewer, **config}
        new = keep_layers(model, new, kept, fewer, lambda: _random_model(auto_class, backbone, trust_remote_code, small)[0])
    return _training(model), new


def _pretrained_model(
    auto_class: Any, backbone: str, trust_remote_code: bool, loading: dict[str, Any], config: dict[str, Any]
) -> tuple[Any, list[nn.Parameter]]:
    """Load a model whose files hold all of its weights, except those of a head; return it and its newly initialized weights."""
    try:
        model, info = auto_class.from_pretrained(
            **origin(backbone),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reinitializes a head that was trained for other labels
            trust_remote_code=remote_code(trust_remote_code),
            **loading,
            **config,
        )
    except LOADING_ERRORS as error:
        raise _load_error(auto_class, backbone, trust_remote_code, error) from error
    shapes = {name: (there, here) for name, there, here in info["mismatched_keys"]}
    missing = {*info["missing_keys"], *shapes}
    inside = {name for name, _ in model.named_parameters() if name.startswith(f"{model.base_model_prefix}.")}
    new = list[nn.Parameter]()
    if inside and inside <= missing:  # Llama's question answering model names its base differently from the checkpoint
        base, new = load_model(AutoModel, backbone, trust_remote_code, loading=loading, **config)
        setattr(model, model.base_model_prefix, base)
        missing -= inside
    elif (missing - shapes.keys()).issuperset(name for name, _ in model.named_parameters()):
        raise UserError(f"model.backbone {backbone!r}: its files contain no weights of {type(model).__name__}")
    check_weights(model, missing - shapes.keys(), shapes, backbone)
    say_unused_layers(model, set(info["unexpected_keys"]), backbone)
    return model, new + [weight for name, weight in model.named_parameters() if name in missing]


@contextmanager
def without_weights() -> Iterator[None]:
    """Give models that are built from their configuration alone no memory for their weights, since others take their place."""
    token = _weightless.set(True)
    try:
        yield
    finally:
        _weightless.reset(token)


def _random_model(
    auto_class: Any, backbone: str, trust_remote_code: bool, config: dict[str, Any]
) -> tuple[nn.Module, list[nn.Parameter]]:
    """Build a model from its configuration alone; all of its weights are newly initialized."""
    settings = load_config(backbone, trust_remote_code)
    settings.update(config)
    try:
        with torch.device("meta") if _weightless.get() else nullcontext():
            model = auto_class.from_config(settings, dtype=torch.float32, trust_remote_code=remote_code(trust_remote_code))
    except ValueError as error:
        raise _load_error(auto_class, backbone, trust_remote_code, error) from error
    _set_decoder_start(model, backbone)
    return _training(model), [weight for weight in model.parameters() if weight.requires_grad]


def _set_decoder_start(model: Any, backbone: str) -> None:
    """Let the decoder of T5 and its relatives start with the pad token, as they were trained, if the config does not say so."""
    config = model.config
    if not config.is_encoder_decoder or getattr(config, "decoder_start_token_id", None) is not None:
        return
    if config.pad_token_id is None or not hasattr(model, "_shift_right"):
        raise UserError(
            f"model.backbone {backbone!r} has a decoder, but its config.json has no decoder_start_token_id, the token with "
            "which targets begin; set it there"
        )
    config.decoder_start_token_id = config.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.decoder_start_token_id = config.pad_token_id


def _training(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if "Sinusoidal" in type(module).__name__:  # Marian's positions are computed, not learned
            module.requires_grad_(False)
    return model.train()  # from_pretrained returns models in eval mode, which Lightning would keep


@naming_damaged_files(lambda backbone, *_, **__: locate(backbone))
def read_tokenizer(backbone: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a backbone as it is.

    Raises:
        UserError: If the backbone or its tokenizer cannot be found.
    """
    place = locate(backbone)
    try:
        tokenizer = AutoTokenizer.from_pretrained(**origin(backbone), trust_remote_code=remote_code(trust_remote_code))
    except LOADING_ERRORS as error:
        missing = Path(place).is_dir() and not has_tokenizer_files(place)
        raise (missing_tokenizer(backbone) if missing else _unreachable(backbone, error)) from error
    check_vocabulary(tokenizer, place, backbone)
    return tokenizer


def load_tokenizer(backbone: str, pad_token: str | None = None, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a backbone, with a pad token.

    Raises:
        UserError: If the backbone cannot be found, or if its tokenizer has no pad token and none was given.
    """
    tokenizer = read_tokenizer(backbone, trust_remote_code)
    drop_unknown_types(tokenizer, load_config(backbone, trust_remote_code))
    if pad_token is not None:
        if tokenizer.convert_tokens_to_ids(pad_token) in (None, tokenizer.unk_token_id):
            raise UserError(f"data.pad_token {pad_token!r} is not a token of {backbone!r}")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token_id is None:
        likely = [t for t in (tokenizer.eos_token, tokenizer.unk_token) if t]
        raise UserError(
            f"the tokenizer of {backbone!r} has no pad token; set data.pad_token to one of its tokens"
            + (f", for example {likely[0]!r}" if likely else "")
        )
    return tokenizer


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode without gradients. On exit, every module is back in its previous mode."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def looks_ahead(model: nn.Module, call: Callable[[Tensor], Tensor]) -> bool:
    """Whether the output for a token depends on later tokens. This is tested, since configurations do not tell reliably.

    Args:
        model: The model.
        call: Returns hidden states or logits ``(batch, tokens, any)`` for ids ``(batch, tokens)``.
    """
    ids = torch.tensor([[4, 5, 6, 7, 8, 9], [4, 5, 6, 7, 8, 4]], device=next(model.parameters()).device)
    with evaluation_mode(model):
        one, other = call(ids)[:, :-1].float()
    return not torch.allclose(one, other, rtol=0, atol=1e-4 * float(one.std()))

"""Two pretrained models as encoder and decoder, connected by newly initialized cross-attention."""

from typing import TYPE_CHECKING, Any, NamedTuple

from ftlit.errors import UserError
from ftlit.models.backbones import load_config, read_tokenizer
from ftlit.models.checks.positions import max_positions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TargetIds(NamedTuple):
    """Ids of the tokens that start, end and pad a target."""

    start: int
    end: int
    pad: int


def target_ids(tokenizer: "PreTrainedTokenizerBase") -> TargetIds:
    """Return the special tokens of a decoder: CLS and SEP if its tokenizer has them, otherwise BOS and EOS.

    Raises:
        UserError: If the tokenizer has neither.
    """
    start = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
    end = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    if start is None or end is None:
        raise UserError(
            f"the tokenizer of model.decoder {tokenizer.name_or_path!r} has no tokens that start and end a text; "
            "choose another decoder"
        )
    return TargetIds(start, end, end if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def decoder_tokenizer(decoder: str, trust_remote_code: bool = False) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a decoder. It needs no pad token, because labels are padded with an ignored value."""
    return read_tokenizer(decoder, trust_remote_code)


def decoder_limit(backbone: str, decoder: str | None, trust_remote_code: bool = False) -> int | None:
    """Return the maximum target length of a model in tokens, or None if it has no limit.

    Raises:
        UserError: If the backbone has no decoder and none is given, or if the given one cannot be combined with it.
    """
    config = load_config(backbone, trust_remote_code)
    if decoder is None:
        if not config.is_encoder_decoder:
            raise UserError(
                f"model.backbone {backbone!r} is a {config.model_type}, which has no decoder; set model.decoder, for "
                "example to the same model, or choose a backbone such as T5, BART or Marian"
            )
        return max_positions(config)
    if config.is_encoder_decoder:
        raise UserError(
            f"model.backbone {backbone!r} is a {config.model_type}, which has its own decoder; remove model.decoder"
        )
    return max_positions(_decoder_config(decoder, trust_remote_code))


def _decoder_config(decoder: str, trust_remote_code: bool) -> Any:
    """Load the configuration of a decoder and check that the model can attend to an encoder."""
    from inspect import signature

    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        config = load_config(decoder, trust_remote_code)
    except UserError as error:
        raise UserError(str(error).replace("model.backbone", "model.decoder")) from error
    known: Any = MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) not in known or "encoder_hidden_states" not in signature(known[type(config)].forward).parameters:
        raise UserError(
            f"model.decoder {decoder!r} is a {config.model_type}, which has no cross-attention in transformers; "
            "choose for example BERT, RoBERTa, ELECTRA or GPT-2"
        )
    return config

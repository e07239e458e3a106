"""Two pretrained models joined: an encoder, and a decoder that attends to it by new cross-attention."""

from typing import TYPE_CHECKING, Any, NamedTuple

from ftlit.errors import UserError
from ftlit.models.backbones import load_config, locate, max_positions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Marks(NamedTuple):
    """Ids of the tokens that begin, end and fill up a target."""

    start: int
    end: int
    pad: int


def marks(tokenizer: "PreTrainedTokenizerBase") -> Marks:
    """The special tokens of a joined decoder: CLS and SEP of an encoder's tokenizer, BOS and EOS of another.

    Raises:
        UserError: The tokenizer has none.
    """
    start = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
    end = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    if start is None or end is None:
        raise UserError(
            f"the tokenizer of model.decoder {tokenizer.name_or_path!r} has no tokens that begin and end a text; "
            "name another decoder"
        )
    return Marks(start, end, end if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def decoder_tokenizer(decoder: str, trust_remote_code: bool = False) -> "PreTrainedTokenizerBase":
    """The tokenizer of a joined decoder; it needs no pad token, because labels are filled up with what the loss ignores."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(locate(decoder), trust_remote_code=trust_remote_code)


def decoder_limit(backbone: str, decoder: str | None, trust_remote_code: bool = False) -> int | None:
    """The longest target in tokens that a model takes, or None where it has no limit.

    Raises:
        UserError: The backbone has no decoder and none is named, or one is named that cannot be joined to it.
    """
    config = load_config(backbone, trust_remote_code)
    if decoder is None:
        if not config.is_encoder_decoder:
            raise UserError(
                f"model.backbone {backbone!r} is a {config.model_type}, which has no decoder; name the model that becomes "
                "the decoder with model.decoder, such as the same again, or take a backbone such as T5, BART or Marian"
            )
        return max_positions(config)
    if config.is_encoder_decoder:
        raise UserError(
            f"model.backbone {backbone!r} is a {config.model_type}, which has its own decoder; leave model.decoder out"
        )
    return max_positions(_joinable(decoder, trust_remote_code))


def _joinable(decoder: str, trust_remote_code: bool) -> Any:
    """The configuration of a model that can attend to an encoder."""
    from inspect import signature

    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        config = load_config(decoder, trust_remote_code)
    except UserError as error:
        raise UserError(str(error).replace("model.backbone", "model.decoder")) from error
    known: Any = MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) not in known or "encoder_hidden_states" not in signature(known[type(config)].forward).parameters:
        raise UserError(
            f"model.decoder {decoder!r} is a {config.model_type}, which transformers cannot make attend to an encoder; "
            "take a BERT, RoBERTa, ELECTRA or GPT-2"
        )
    return config

"""Text generation: settings and the call of ``generate``."""

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ftlit.errors import UserError
from ftlit.util.arguments.ranges import check_section
from ftlit.util.batch import pad

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

SAMPLING = ("temperature", "top_k", "top_p")


class Written(NamedTuple):
    """The tokens of a generated text, without the one that ends it.

    Args:
        opening: Those that begin what an encoder-decoder model writes, such as its language.
        ids: Those of the text.
    """

    opening: list[int]
    ids: list[int]


@dataclass(frozen=True)
class Generation:
    """Settings of text generation. They override the model's own generation config, except for the ids of its tokens.

    Args:
        num_beams: Number of beams. 1 is greedy decoding.
        max_new_tokens: Maximum length of a text in tokens. Defaults to the maximum length of targets in training.
        min_new_tokens: Minimum length of a text in tokens.
        length_penalty: Beam scores are divided by the length to this power, so that values above 0 favor long texts.
        no_repeat_ngram_size: Size of the n-grams that may occur only once. 0 disables this.
        repetition_penalty: Penalty for tokens that occurred before (Keskar et al., 2019). 1 disables it.
        do_sample: Whether to sample tokens instead of choosing the most probable ones.
        temperature: Divisor of the logits before sampling.
        top_k: Sample from this many most probable tokens. 0 disables this.
        top_p: Sample from the most probable tokens with this total probability (Holtzman et al., 2020). 1 disables this.
        seed: Seed for sampling.
        forced_bos_token: First token of every text, such as the target language of a multilingual model.
    """

    num_beams: int = 1
    max_new_tokens: int | None = None
    min_new_tokens: int = 0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    forced_bos_token: str | None = None

    def check(self) -> None:
        """Check the settings.

        Raises:
            UserError: If a value is out of range, or a sampling option is set without `do_sample`.
        """
        check_section("model.generation", vars(self))
        if self.max_new_tokens is not None and self.max_new_tokens < self.min_new_tokens:
            raise UserError(
                f"model.generation.max_new_tokens must be at least {self.min_new_tokens}, got {self.max_new_tokens}"
            )
        unused = [name for name in SAMPLING if getattr(self, name) != getattr(Generation, name)]
        if unused and not self.do_sample:
            raise UserError(f"model.generation.{unused[0]} has no effect without model.generation.do_sample: true")

    def config(self, tokenizer: "PreTrainedTokenizerBase", longest: int) -> "GenerationConfig":
        """Return the config for ``generate``, which takes the ids of special tokens from the model.

        Args:
            tokenizer: Tokenizer of the generated text.
            longest: Default of `max_new_tokens`.

        Raises:
            UserError: If the forced token is not in the tokenizer's vocabulary.
        """
        from transformers import GenerationConfig

        copied = ("num_beams", "min_new_tokens", "length_penalty", "no_repeat_ngram_size", "repetition_penalty", "do_sample")
        settings = {name: getattr(self, name) for name in (*copied, *(SAMPLING if self.do_sample else ()))}
        settings |= {"max_new_tokens": self.max_new_tokens or longest, "early_stopping": False}
        if self.forced_bos_token is not None:
            settings["forced_bos_token_id"] = self._token_id(tokenizer, self.forced_bos_token)
        return GenerationConfig(**settings)

    def _token_id(self, tokenizer: "PreTrainedTokenizerBase", token: str) -> int:
        if token not in (vocabulary := tokenizer.get_vocab()):
            raise UserError(f"model.generation.forced_bos_token {token!r} is not a token of this model")
        return vocabulary[token]

    def texts(
        self,
        model: Any,
        tokenizer: "PreTrainedTokenizerBase",
        inputs: dict[str, Tensor],
        longest: int,
        keep_special_tokens: bool = False,
    ) -> list[str]:
        """Generate texts. The global random state is not changed.

        Args:
            model: The model, possibly wrapped by peft.
            tokenizer: Tokenizer of the generated text.
            inputs: ``input_ids`` and ``attention_mask`` of shape ``(batch, tokens)``, left-padded for decoder-only models.
            longest: Default of `max_new_tokens`.
            keep_special_tokens: Whether the texts keep special tokens, except for those that begin, end and pad them.
        """
        rows = [text.ids for text in self.written(model, tokenizer, inputs, longest)]
        return [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=not keep_special_tokens)]

    def written(
        self, model: Any, tokenizer: "PreTrainedTokenizerBase", inputs: dict[str, Tensor], longest: int
    ) -> list[Written]:
        """Generate the tokens of texts. The arguments are those of `texts`. The global random state is not changed."""
        device = inputs["input_ids"].device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=self.do_sample):
            if self.do_sample:
                _seed(self.seed, devices)
            generated = model.generate(**inputs, generation_config=self.config(tokenizer, longest))
        prompt = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        begins, ends = frame(model)
        found = []
        for ids in generated[:, prompt:].tolist():
            opening = list(takewhile(lambda i: i in begins, ids))
            found.append(Written(opening, list(takewhile(lambda i: i not in ends, ids[len(opening) :]))))
        return found


def frame(model: Any) -> tuple[set[int | None], set[int | None]]:
    """The ids of the tokens that may begin what a model generates, and of those that end it; neither is text."""
    settings = model.generation_config
    ends = settings.eos_token_id
    begins = {settings.bos_token_id, settings.forced_bos_token_id} if model.config.is_encoder_decoder else set()
    return begins, {*(ends if isinstance(ends, list) else [ends])}


def as_generated(tokenizer: "PreTrainedTokenizerBase", text: str, keep_special_tokens: bool) -> str:
    """A text of the data with special tokens in it, written as `Generation.texts` would write its tokens."""
    ids = tokenizer(text_target=text, add_special_tokens=False)["input_ids"]
    return str(tokenizer.decode(ids, skip_special_tokens=not keep_special_tokens)).strip()


def _seed(seed: int, devices: list[torch.device]) -> None:
    """Seed the random generators of the CPU and of the given GPUs only."""
    torch.default_generator.manual_seed(seed)
    for device in devices:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def left_padded(prompts: list[list[int]], pad_token_id: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Left-pad prompts and return ``input_ids`` and ``attention_mask``, both ``(prompts, longest)``."""
    reversed_ids = [ids[::-1] for ids in prompts]
    masks = [[1] * len(ids) for ids in prompts]
    inputs = {"input_ids": pad(reversed_ids, pad_token_id), "attention_mask": pad(masks, 0)}
    return {name: values.flip(1).to(device) for name, values in inputs.items()}

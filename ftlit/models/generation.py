"""How models write texts: the settings and the call."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ftlit.errors import UserError
from ftlit.util.batch import pad

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

SAMPLING = ("temperature", "top_k", "top_p")


@dataclass(frozen=True)
class Generation:
    """Settings of text generation; they hold whatever the model's own files say of it, but for the ids of its tokens.

    Args:
        num_beams: Beams of the search; 1 takes the likeliest token at each step.
        max_new_tokens: Longest text in tokens; by default as long as targets may be in training.
        min_new_tokens: Shortest text in tokens.
        length_penalty: Beams are compared by their log-probability over length to this power: above 0 prefers long texts.
        no_repeat_ngram_size: No sequence of so many tokens comes twice; 0 is off.
        repetition_penalty: Divides the logits of tokens that were there before (Keskar et al., 2019); 1 is off.
        do_sample: Draw each token at random instead of taking the likeliest.
        temperature: Divides the logits before drawing.
        top_k: Draw among so many of the likeliest tokens; 0 is off.
        top_p: Draw among the likeliest tokens that together have this probability (Holtzman et al., 2020); 1 is off.
        seed: Decides the draws.
        forced_bos_token: Token that every text begins with, such as the target language of a multilingual model.
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
        """Refuse values that cannot be.

        Raises:
            UserError: A number is out of its range, or a setting of sampling is given without it.
        """
        at_least = {"num_beams": 1, "min_new_tokens": 0, "no_repeat_ngram_size": 0, "top_k": 0}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise UserError(f"model.generation.{name} must be at least {least}, got {getattr(self, name)}")
        if self.max_new_tokens is not None and self.max_new_tokens < max(self.min_new_tokens, 1):
            raise UserError(
                f"model.generation.max_new_tokens must be at least {max(self.min_new_tokens, 1)}, got {self.max_new_tokens}"
            )
        if self.temperature <= 0 or self.repetition_penalty <= 0 or not 0 < self.top_p <= 1:
            raise UserError(
                "model.generation.temperature and repetition_penalty must be above 0 and top_p in (0, 1], "
                f"got {self.temperature}, {self.repetition_penalty} and {self.top_p}"
            )
        idle = [name for name in SAMPLING if getattr(self, name) != getattr(Generation, name)]
        if idle and not self.do_sample:
            raise UserError(f"model.generation.{idle[0]} has no effect without model.generation.do_sample: true")

    def config(self, tokenizer: "PreTrainedTokenizerBase", longest: int) -> "GenerationConfig":
        """The settings for ``generate``, which takes what is left open, the ids of special tokens, from the model.

        Args:
            tokenizer: Of what is generated.
            longest: Tokens of a text at most where `max_new_tokens` is not given.

        Raises:
            UserError: The forced token is not one of the tokenizer's.
        """
        from transformers import GenerationConfig

        same = ("num_beams", "min_new_tokens", "length_penalty", "no_repeat_ngram_size", "repetition_penalty", "do_sample")
        settings = {name: getattr(self, name) for name in (*same, *(SAMPLING if self.do_sample else ()))}
        settings |= {"max_new_tokens": self.max_new_tokens or longest, "early_stopping": False}
        if self.forced_bos_token is not None:
            settings["forced_bos_token_id"] = self._token_id(tokenizer, self.forced_bos_token)
        return GenerationConfig(**settings)

    def _token_id(self, tokenizer: "PreTrainedTokenizerBase", token: str) -> int:
        if token not in (vocabulary := tokenizer.get_vocab()):
            raise UserError(f"model.generation.forced_bos_token {token!r} is not a token of this model")
        return vocabulary[token]

    def texts(self, model: Any, tokenizer: "PreTrainedTokenizerBase", inputs: dict[str, Tensor], longest: int) -> list[str]:
        """What a model writes after its inputs, special tokens left out; the state of chance stays as it is.

        Args:
            model: The model, perhaps wrapped by peft.
            tokenizer: Of what is generated.
            inputs: ``input_ids`` and ``attention_mask`` of shape ``(batch, tokens)``, padded on the left for a decoder alone.
            longest: Tokens of a text at most where `max_new_tokens` is not given.
        """
        device = inputs["input_ids"].device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=self.do_sample):
            if self.do_sample:
                _seed(self.seed, devices)
            found = model.generate(**inputs, generation_config=self.config(tokenizer, longest))
        if not model.config.is_encoder_decoder:
            found = found[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in tokenizer.batch_decode(found, skip_special_tokens=True)]


def _seed(seed: int, devices: list[torch.device]) -> None:
    """Seed the chance of the CPU and of some GPUs, and of no other."""
    torch.default_generator.manual_seed(seed)
    for device in devices:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def left_padded(prompts: list[list[int]], pad_token_id: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Prompts as ``input_ids`` and ``attention_mask`` ``(prompts, longest)``, so that each ends where its reply begins."""
    turned = [ids[::-1] for ids in prompts]
    inputs = {"input_ids": pad(turned, pad_token_id), "attention_mask": pad([[1] * len(ids) for ids in turned], 0)}
    return {name: values.flip(1).to(device) for name, values in inputs.items()}

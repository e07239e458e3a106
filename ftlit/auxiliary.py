"""A self-supervised loss beside the task's: what the texts say trains the backbone together with their labels.

``loss = task loss + weight * self-supervised loss``, as in Radford et al. (2018), "Improving Language Understanding by
Generative Pre-Training", section 3.2.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from ftlit.errors import UserError
from ftlit.heads import Load
from ftlit.losses import row_sums
from ftlit.models.backbones import looks_ahead
from ftlit.models.masking import mask_tokens
from ftlit.util.batch import IGNORED

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class HiddenStates(nn.Module):
    """Stands in the place of a backbone and gives the vectors that it was told, ``(1, tokens, width)``."""

    hidden: Tensor

    def forward(self, *args: Any, **kwargs: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.hidden)


class SelfSupervision(nn.Module, ABC):
    """The head of a language model on a task's backbone, and the loss of each text.

    Args:
        model: The language model of the backbone; only its head is kept.
        embedding: The backbone's input embeddings, to which the output weights are tied where the model ties them.
    """

    def __init__(self, model: Any, embedding: nn.Parameter) -> None:
        super().__init__()
        self.stub, decoder = HiddenStates(), model.get_output_embeddings()
        setattr(model, model.base_model_prefix, self.stub)
        if getattr(model.config, "tie_word_embeddings", True):
            decoder.weight = embedding
        self.head, self.vocabulary = model, len(decoder.weight)

    @abstractmethod
    def targets(self, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs for the backbone, and the token that each position should predict, -100 for none; ``(texts, tokens)``."""

    def forward(self, backbone: nn.Module, batch: dict[str, Any]) -> Tensor:
        """The mean loss over the predicted tokens of each text, ``(texts,)``.

        Args:
            backbone: The task's backbone.
            batch: ``input_ids`` and ``attention_mask``, ``(texts, tokens)``.
        """
        inputs, targets = self.targets({name: batch[name] for name in INPUTS if name in batch})
        targets = targets.masked_fill(targets >= self.vocabulary, IGNORED)  # tokens that the data added
        chosen = targets != IGNORED
        hidden = backbone(**inputs).last_hidden_state[:, -chosen.shape[1] :]  # a prompt may stand before the tokens
        self.stub.hidden = hidden[chosen].unsqueeze(0)
        logits = self.head(input_ids=None).logits.squeeze(0)
        del self.stub.hidden
        values = functional.cross_entropy(logits.float(), targets[chosen], reduction="none")
        return row_sums(values, chosen) / chosen.sum(1).clamp(min=1)


class MaskedTokens(SelfSupervision):
    """Predicts tokens that are masked anew in every step, with the global random numbers; tokens that the data added stay.

    Args:
        model: The masked language model of the backbone.
        embedding: The backbone's input embeddings.
        tokenizer: The backbone's tokenizer.
        probability: Share of the tokens that are chosen.
    """

    def __init__(self, model: Any, embedding: nn.Parameter, tokenizer: PreTrainedTokenizerBase, probability: float) -> None:
        super().__init__(model, embedding)
        self.probability, self.words, self.mask_token_id = probability, len(tokenizer), tokenizer.mask_token_id
        self.special_ids = sorted(tokenizer.all_special_ids)

    def targets(self, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        ids = inputs["input_ids"]
        special = torch.isin(ids, torch.tensor(self.special_ids, device=ids.device))
        maskable = inputs["attention_mask"].bool() & ~special & (ids < min(self.words, self.vocabulary))
        masked, targets = mask_tokens(
            ids, maskable, self.mask_token_id, self.words, self.probability, special_ids=self.special_ids
        )  # fmt: skip
        return {**inputs, "input_ids": masked}, targets


class NextTokens(SelfSupervision):
    """Predicts each token from those before it."""

    def targets(self, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        ids = inputs["input_ids"]
        targets = torch.full_like(ids, IGNORED)
        both = (inputs["attention_mask"][:, 1:] * inputs["attention_mask"][:, :-1]).bool()
        targets[:, :-1] = ids[:, 1:].masked_fill(~both, IGNORED)
        return inputs, targets


class Auxiliary(ABC):
    """A loss that needs no labels, beside the task's own."""

    weight: float
    schedule: str

    @abstractmethod
    def build(self, load: Load, backbone: nn.Module, embedding: nn.Parameter, tokenizer: Callable[[], Any]) -> SelfSupervision:
        """The head of the loss.

        Args:
            load: Loads a model of the backbone with a class of transformers.
            backbone: The task's backbone.
            embedding: The backbone's input embeddings.
            tokenizer: Gives the backbone's tokenizer.
        """

    def weight_at(self, progress: float) -> float:
        """The weight of the loss when this share of training is over."""
        if self.schedule == "linear":
            return self.weight * (1 - progress)
        if self.schedule == "cosine":
            return self.weight * (1 + math.cos(math.pi * progress)) / 2
        return self.weight

    def loss(
        self, head: SelfSupervision, backbone: nn.Module, batch: dict[str, Any], counts: list[int] | None = None
    ) -> Tensor:
        """The mean over the examples of a batch, each counting what it counts in the task's loss.

        Where the batch has unlabelled texts, one an example, both halves count the same.

        Args:
            head: The head of this loss.
            backbone: The task's backbone.
            batch: ``input_ids`` and ``attention_mask``, ``(texts, tokens)``.
            counts: How many texts each example has, whose mean counts; None where each has one.
        """
        values = head(backbone, batch)
        if counts is not None:
            values = torch.stack([part.mean() for part in values.split(counts)])
        loss_weights = batch.get("loss_weights", torch.ones_like(values))
        total = (values * loss_weights).sum()
        if "unlabelled" in batch:
            total = (total + head(backbone, batch["unlabelled"]).mean() * loss_weights.sum()) / 2
        return total / batch["loss_denominator"]


def _check(auxiliary: Auxiliary) -> None:
    if not auxiliary.weight >= 0:
        raise UserError(f"model.auxiliary.weight must be at least 0, got {auxiliary.weight}")


@dataclass(frozen=True)
class MaskedLMLoss(Auxiliary):
    """Masked language modelling on the texts of the batch, for encoders (Devlin et al., 2019).

    Args:
        weight: Factor of this loss beside the task's; 0 is off.
        probability: Share of the tokens that are chosen for prediction.
        schedule: Whether the weight stays (`constant`) or falls to 0 over training (`linear`, `cosine`).
    """

    weight: float = 0.1
    probability: float = 0.15
    schedule: Literal["constant", "linear", "cosine"] = "constant"

    def __post_init__(self) -> None:
        _check(self)
        if not 0 < self.probability <= 1:
            raise UserError(f"model.auxiliary.probability should be above 0 and at most 1, got {self.probability}")

    def build(self, load: Load, backbone: nn.Module, embedding: nn.Parameter, tokenizer: Callable[[], Any]) -> SelfSupervision:
        words = tokenizer()
        if words.mask_token_id is None:
            raise UserError("model.auxiliary is MaskedLMLoss, and the backbone's tokenizer has no mask token; use CausalLMLoss")
        return MaskedTokens(load(AutoModelForMaskedLM)[0], embedding, words, self.probability)


@dataclass(frozen=True)
class CausalLMLoss(Auxiliary):
    """Next token prediction on the texts of the batch, for decoders (Radford et al., 2018).

    Args:
        weight: Factor of this loss beside the task's; 0 is off.
        schedule: Whether the weight stays (`constant`) or falls to 0 over training (`linear`, `cosine`).
    """

    weight: float = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "constant"

    def __post_init__(self) -> None:
        _check(self)

    def build(self, load: Load, backbone: nn.Module, embedding: nn.Parameter, tokenizer: Callable[[], Any]) -> SelfSupervision:
        model, _ = load(AutoModelForCausalLM)
        if looks_ahead(backbone, lambda ids: backbone(input_ids=ids).last_hidden_state):
            raise UserError(
                "model.auxiliary is CausalLMLoss, and model.backbone sees the tokens that come after each, which it would have "
                "to predict; use MaskedLMLoss"
            )
        return NextTokens(model, embedding)

"""Auxiliary self-supervised losses, trained together with the task.

``loss = task loss + weight * self-supervised loss``, as in Radford et al. (2018), "Improving Language Understanding by
Generative Pre-Training", section 3.2.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
from ftlit.util.arguments.checked import CheckedArguments
from ftlit.util.batch import IGNORED

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class HiddenStates(nn.Module):
    """Replaces a backbone and returns hidden states that were set before, ``(1, tokens, width)``."""

    hidden: Tensor

    def forward(self, *args: Any, **kwargs: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.hidden)


class SelfSupervision(nn.Module, ABC):
    """A language model head on a task's backbone, which returns a loss for each text.

    Args:
        model: The backbone's language model. Only its head is kept.
        embedding: The backbone's input embeddings. The output layer is tied to them if the model ties its weights.
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
        """Return the backbone's inputs and the token to predict at each position, or -100; both ``(texts, tokens)``."""

    def forward(self, backbone: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Return the mean loss over the predicted tokens of each text, ``(texts,)``.

        Args:
            backbone: The task's backbone.
            batch: ``input_ids`` and ``attention_mask``, ``(texts, tokens)``.
        """
        inputs, targets = self.targets({name: batch[name] for name in INPUTS if name in batch})
        targets = targets.masked_fill(targets >= self.vocabulary, IGNORED)  # tokens added by the data module
        chosen = targets != IGNORED
        hidden = backbone(**inputs).last_hidden_state[:, -chosen.shape[1] :]  # without the positions of a learned prompt
        self.stub.hidden = hidden[chosen].unsqueeze(0)
        logits = self.head(input_ids=None).logits.squeeze(0)
        del self.stub.hidden
        values = functional.cross_entropy(logits.float(), targets[chosen], reduction="none")
        return row_sums(values, chosen) / chosen.sum(1).clamp(min=1)


class MaskedTokens(SelfSupervision):
    """Predicts masked tokens, drawn anew in each step from the global random generator. Added tokens are never masked.

    Args:
        model: The backbone's masked language model.
        embedding: The backbone's input embeddings.
        tokenizer: The backbone's tokenizer.
        probability: Fraction of the tokens to predict.
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
    """Predicts each token from the previous ones."""

    def targets(self, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        ids = inputs["input_ids"]
        targets = torch.full_like(ids, IGNORED)
        both = (inputs["attention_mask"][:, 1:] * inputs["attention_mask"][:, :-1]).bool()
        targets[:, :-1] = ids[:, 1:].masked_fill(~both, IGNORED)
        return inputs, targets


class Auxiliary(metaclass=CheckedArguments):
    """Base class of losses that need no labels and are added to the task's loss."""

    config_key: ClassVar[str] = "model.auxiliary"
    weight: float
    schedule: str

    @abstractmethod
    def build(self, load: Load, backbone: nn.Module, embedding: nn.Parameter, tokenizer: Callable[[], Any]) -> SelfSupervision:
        """Build the head of the loss.

        Args:
            load: Loads the backbone, given an ``AutoModelFor…`` class.
            backbone: The task's backbone.
            embedding: The backbone's input embeddings.
            tokenizer: Returns the backbone's tokenizer.

        Raises:
            UserError: If the backbone cannot be trained with this loss.
        """

    def weight_at(self, progress: float) -> float:
        """Return the weight of the loss after a fraction `progress` of training."""
        if self.schedule == "linear":
            return self.weight * (1 - progress)
        if self.schedule == "cosine":
            return self.weight * (1 + math.cos(math.pi * progress)) / 2
        return self.weight

    def loss(
        self, head: SelfSupervision, backbone: nn.Module, batch: dict[str, Any], counts: list[int] | None = None
    ) -> Tensor:
        """Return the mean over the examples of a batch, with the same example weights as in the task's loss.

        Labelled and unlabelled texts of a batch have the same total weight.

        Args:
            head: The head of this loss.
            backbone: The task's backbone.
            batch: ``input_ids`` and ``attention_mask``, ``(texts, tokens)``.
            counts: Number of texts of each example, over which the loss is averaged. None if each example is one text.
        """
        values = head(backbone, batch)
        if counts is not None:
            values = torch.stack([part.mean() for part in values.split(counts)])
        loss_weights = batch.get("loss_weights", torch.ones_like(values))
        total = (values * loss_weights).sum()
        if "unlabelled" in batch:
            total = (total + head(backbone, batch["unlabelled"]).mean() * loss_weights.sum()) / 2
        return total / batch["loss_denominator"]


@dataclass(frozen=True)
class MaskedLMLoss(Auxiliary):
    """Masked language modeling on the texts of a batch, for encoders (Devlin et al., 2019).

    Args:
        weight: Weight of this loss relative to the task's loss. 0 disables it.
        probability: Fraction of the tokens to predict.
        schedule: Whether the weight is constant (`constant`) or decays to 0 during training (`linear`, `cosine`).
    """

    weight: float = 0.1
    probability: float = 0.15
    schedule: Literal["constant", "linear", "cosine"] = "constant"

    def build(self, load: Load, backbone: nn.Module, embedding: nn.Parameter, tokenizer: Callable[[], Any]) -> SelfSupervision:
        loaded = tokenizer()
        if loaded.mask_token_id is None:
            raise UserError("model.auxiliary is MaskedLMLoss, but the backbone's tokenizer has no mask token; use CausalLMLoss")
        return MaskedTokens(load(AutoModelForMaskedLM)[0], embedding, loaded, self.probability)


@dataclass(frozen=True)
class CausalLMLoss(Auxiliary):
    """Next token prediction on the texts of a batch, for decoders (Radford et al., 2018).

    Args:
        weight: Weight of this loss relative to the task's loss. 0 disables it.
        schedule: Whether the weight is constant (`constant`) or decays to 0 during training (`linear`, `cosine`).
    """

    weight: float = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "constant"

    def build(self, load: Load, backbone: nn.Module, embedding: nn.Parameter, tokenizer: Callable[[], Any]) -> SelfSupervision:
        model, _ = load(AutoModelForCausalLM)
        if looks_ahead(backbone, lambda ids: backbone(input_ids=ids).last_hidden_state):
            raise UserError(
                "model.auxiliary is CausalLMLoss, but model.backbone attends to the later tokens that it would have to "
                "predict; use MaskedLMLoss"
            )
        return NextTokens(model, embedding)

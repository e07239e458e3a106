"""Masked language modelling, to pre-train an encoder or to go on with it on texts of a domain."""

from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, PreTrainedTokenizerBase

from ftlit.errors import UserError
from ftlit.metrics.weighted_mean import WeightedMean
from ftlit.models.backbones import load_config, load_tokenizer
from ftlit.tasks.shared.language_model import LanguageModel
from ftlit.util.batch import IGNORED


class MaskedLM(LanguageModel):
    """Predicts tokens that were masked in a text (Devlin et al., 2019, "BERT"; Liu et al., 2019, "RoBERTa").

    Args:
        mask_probability: Share of the tokens that are chosen for prediction.
        whole_words: Whether all tokens of a word are chosen together.
        next_sentence: Whether to predict too if a second segment follows the first or comes from another document; for
            BERT only.
    """

    evidence: ClassVar[str | None] = "tokens"
    auto_class: Any = AutoModelForMaskedLM
    objective: ClassVar[Literal["causal", "masked"]] = "masked"

    def __init__(
        self, mask_probability: float = 0.15, whole_words: bool = False, next_sentence: bool = False, **kwargs: Any
    ) -> None:
        self.next_sentence = next_sentence
        super().__init__(**kwargs)
        if not 0 < mask_probability <= 1:
            raise UserError(f"model.mask_probability should be above 0 and at most 1, got {mask_probability}")
        if next_sentence:
            kind = load_config(self.hparams["backbone"], self.hparams["trust_remote_code"]).model_type
            if kind != "bert":
                raise UserError(f"model.next_sentence needs a BERT backbone, and {self.hparams['backbone']!r} is {kind}")
            self.auto_class = AutoModelForPreTraining
            self.summary_names = (*self.summary_names, "nsp_accuracy")  # type: ignore[misc]
        self.adopt()
        if next_sentence:
            for split in ("val", "test"):
                self.metrics[f"{split}_nsp"] = WeightedMean()

    def targets(self, labels: Tensor) -> Tensor:
        return labels

    # Next sentence prediction

    def token_logits(self, output: Any, batch: dict[str, Any]) -> Tensor:
        if not self.next_sentence:
            return super().token_logits(output, batch)
        batch["next_sentence_logits"] = output.seq_relationship_logits
        return output.prediction_logits.squeeze(0)

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """The sum over each example's masked tokens; the loss of its next sentence counts as often as its tokens."""
        losses = super().losses(logits, batch)
        if not self.next_sentence:
            return losses
        follows = functional.cross_entropy(batch["next_sentence_logits"].float(), batch["next_sentence"], reduction="none")
        return losses + follows * batch["loss_weights"]

    def is_nll(self) -> bool:
        return super().is_nll() and not self.next_sentence

    def record(self, split: str, losses: Tensor, logits: Tensor, batch: dict[str, Any]) -> None:
        super().record(split, losses, logits, batch)
        if self.next_sentence:
            right = batch["next_sentence_logits"].argmax(-1) == batch["next_sentence"]
            self.metrics[f"{split}_nsp"].update(right, torch.ones_like(right))

    def summarise(self, split: str, values: dict[str, float]) -> dict[str, float]:
        found = super().summarise(split, values)
        if self.next_sentence:
            found["nsp_accuracy"] = float(self.metrics[f"{split}_nsp"].compute())
        return found

    # New texts: fill in their mask tokens

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return load_tokenizer(self.hparams["backbone"], trust_remote_code=self.hparams["trust_remote_code"])

    def decoded(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Each text with its mask tokens filled in by the likeliest tokens, these, and their probabilities."""
        ids = batch["input_ids"]
        masks = ids == self.tokenizer.mask_token_id
        logits = self.logits({**batch, "labels": torch.where(masks, ids, IGNORED)})
        scores, best = logits.float().softmax(-1).max(-1)
        filled = ids.masked_scatter(masks, best)
        found: list[dict[str, Any] | None] = []
        for row, mask, row_scores in zip(filled, masks, scores.split(masks.sum(1).tolist()), strict=True):
            tokens = self.tokenizer.convert_ids_to_tokens(row[mask].tolist())
            text = self.tokenizer.decode(row.tolist(), skip_special_tokens=True)
            found.append({"prediction": text, "tokens": tokens, "score": row_scores.tolist()})
        return found

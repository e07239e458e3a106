"""Masked language modelling, to pretrain an encoder or to adapt it to the texts of a domain."""

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, PreTrainedTokenizerBase

from ftlit.errors import UserError
from ftlit.models.backbones import load_config, load_tokenizer
from ftlit.tasks.shared.evaluator import Evaluator, Outputs
from ftlit.tasks.shared.language_model import LanguageModel
from ftlit.util.batch import IGNORED


class MaskedLM(LanguageModel):
    """Predicts tokens that were masked in a text (Devlin et al., 2019, "BERT"; Liu et al., 2019, "RoBERTa").

    Args:
        mask_probability: Share of the tokens that are chosen for prediction.
        whole_words: Whether all tokens of a word are chosen together.
        next_sentence: Whether to also predict if a second segment follows the first or comes from another document. Only for
            BERT.
    """

    evidence: ClassVar[str | None] = "tokens"
    auto_class: Any = AutoModelForMaskedLM
    objective: ClassVar[Literal["causal", "masked"]] = "masked"

    def __init__(
        self, mask_probability: float = 0.15, whole_words: bool = False, next_sentence: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.next_sentence = next_sentence
        if next_sentence:
            kind = load_config(self.hparams["backbone"], self.hparams["trust_remote_code"]).model_type
            if kind != "bert":
                raise UserError(f"model.next_sentence needs a BERT backbone, and {self.hparams['backbone']!r} is {kind}")
            self.auto_class, self.takes_teacher = AutoModelForPreTraining, False
            self.mean_names, self.corpus_metric_names = ("nll", "nsp"), ("perplexity", "nsp_accuracy")

    def targets(self, labels: Tensor) -> Tensor:
        return labels

    # Next sentence prediction

    def pretraining_logits(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the logits of the masked tokens, ``(targets, vocabulary)``, and of the next sentence, ``(batch, 2)``."""
        output = self.target_output(batch)
        return output.prediction_logits.squeeze(0), output.seq_relationship_logits

    def logits(self, batch: dict[str, Any]) -> Tensor:
        return self.pretraining_logits(batch)[0] if self.next_sentence else super().logits(batch)

    def batch_losses(self, batch: dict[str, Any]) -> Tensor:
        if not self.next_sentence:
            return super().batch_losses(batch)
        tokens, follows = self.pretraining_logits(batch)
        return self.losses(tokens, batch) + next_sentence_losses(follows, batch)

    def evaluate_batch(self, batch: dict[str, Any]) -> Outputs:
        if not self.next_sentence:
            return super().evaluate_batch(batch)
        tokens, follows = self.pretraining_logits(batch)
        outputs = self.measure(tokens.float(), batch)
        right = follows.argmax(-1) == batch["next_sentence"]
        means = {**outputs.means, "nsp": (right, torch.ones_like(right))}
        return replace(outputs, losses=outputs.losses + next_sentence_losses(follows, batch), means=means)

    def corpus_metrics(self, evaluation: Evaluator) -> dict[str, float]:
        found = super().corpus_metrics(evaluation)
        return {**found, "nsp_accuracy": evaluation.mean("nsp")} if self.next_sentence else found

    # New texts, in which mask tokens are filled in

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return load_tokenizer(self.hparams["backbone"], trust_remote_code=self.hparams["trust_remote_code"])

    def prediction_types(self) -> dict[str, Any]:
        return {"prediction": str, "tokens": [str], "score": [float]}

    def predict_batch(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return each text with its mask tokens replaced by the likeliest tokens, these tokens, and their probabilities."""
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


def next_sentence_losses(logits: Tensor, batch: dict[str, Any]) -> Tensor:
    """The next sentence loss of each example, multiplied by its number of masked tokens, ``(batch,)``."""
    losses = functional.cross_entropy(logits.float(), batch["next_sentence"], reduction="none")
    return losses * batch["loss_weights"]

"""BERTScore: similarity of two texts by their token embeddings (Zhang et al., 2020)."""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ftlit.errors import UserError
from ftlit.metrics.ngrams import check_rows, mean

if TYPE_CHECKING:
    from torch import Tensor

NO_LIMIT = 1 << 30  # tokenizers without a maximum length return a huge number instead


def bertscore(
    predictions: list[str], references: list[list[str]], model: str, layer: int = -1, batch_size: int = 32
) -> dict[str, float]:
    """Compute mean BERTScore precision, recall and F1, using the reference with the highest F1 in each row.

    Tokens are matched greedily by cosine similarity. All tokens have the same weight (no idf), special tokens are excluded,
    and scores are not rescaled with a baseline. A text without tokens scores 0. Texts longer than the encoder's limit are
    truncated.

    Args:
        predictions: One text per row.
        references: Reference texts of each row.
        model: Folder or hub name of the encoder. Scores of different encoders or layers are not comparable.
        layer: Layer whose output is compared. 0 is the embedding layer, -1 the last layer.
        batch_size: Number of rows to encode at a time.

    Raises:
        UserError: If the encoder cannot be found, or has no such layer.
    """
    check_rows(predictions, references)
    embed = _embedder(model)
    rows = []
    for start in range(0, len(predictions), batch_size):
        texts, gold = predictions[start : start + batch_size], references[start : start + batch_size]
        embedded = iter(embed([*texts, *(text for row in gold for text in row)], layer))
        predicted = [next(embedded) for _ in texts]
        rows += [
            max((match(tokens, next(embedded)) for _ in row), key=lambda score: score[2])
            for tokens, row in zip(predicted, gold, strict=True)
        ]
    return {f"bertscore_{name}": mean([row[i] for row in rows]) for i, name in enumerate(("precision", "recall", "f1"))}


def match(predicted: "Tensor", gold: "Tensor") -> tuple[float, float, float]:
    """Compute precision, recall and F1 of two texts from their unit vectors, ``(tokens, hidden)`` each."""
    if not len(predicted) or not len(gold):
        return 0.0, 0.0, 0.0
    similarity = predicted @ gold.T
    precision, recall = similarity.amax(1).mean().item(), similarity.amax(0).mean().item()
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@lru_cache(maxsize=1)  # a run uses the same encoder after each epoch
def _embedder(name: str) -> "_Embedder":
    try:
        return _Embedder(name)
    except UserError as error:
        reason = str(error).replace("model.backbone", "the encoder")
        raise UserError(f"model.metrics 'bertscore:{name}': {reason}") from error


class _Embedder:
    """Embeds texts as unit vectors ``(tokens, hidden)``, without special tokens."""

    def __init__(self, name: str) -> None:
        import torch
        from transformers import AutoModel

        from ftlit.models.backbones import load_model, load_tokenizer
        from ftlit.models.positions import max_positions

        self.tokenizer = load_tokenizer(name)
        model: Any = load_model(AutoModel, name)[0]
        limits = (self.tokenizer.model_max_length, max_positions(model.config))
        self.limit = min((limit for limit in limits if limit and limit < NO_LIMIT), default=None)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = model.get_encoder() if model.config.is_encoder_decoder else model
        self.model = encoder.eval().to(self.device)

    def __call__(self, texts: list[str], layer: int) -> Iterator["Tensor"]:
        import torch

        batch = self.tokenizer(
            texts,
            padding=True,
            padding_side="right",
            truncation=self.limit is not None,
            max_length=self.limit,
            return_special_tokens_mask=True,
            return_tensors="pt",
        ).to(self.device)
        keep = (batch.pop("special_tokens_mask") == 0) & (batch["attention_mask"] == 1)
        with torch.inference_mode():
            layers = self.model(**batch, output_hidden_states=True).hidden_states
        if not -len(layers) <= layer < len(layers):
            raise UserError(
                f"layer must be from 0 to {len(layers) - 1} for this BERTScore encoder, or -1 for the last layer, got {layer}"
            )
        unit = torch.nn.functional.normalize(layers[layer].float(), dim=-1)
        return (vectors[kept] for vectors, kept in zip(unit, keep, strict=True))

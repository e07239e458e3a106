"""BERTScore: how near the tokens of two texts are in the space of an encoder (Zhang et al. 2020)."""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ftlit.errors import UserError
from ftlit.metrics.ngrams import check_rows, mean

if TYPE_CHECKING:
    from torch import Tensor

NO_LIMIT = 1 << 30  # tokenizers that have none name a number that overflows


def bertscore(
    predictions: list[str], references: list[list[str]], model: str, layer: int = -1, batch_size: int = 32
) -> dict[str, float]:
    """Precision, recall and F of the greedy matching of token embeddings by cosine: means over rows, best reference by F.

    All tokens weigh the same (no idf), special tokens have no part, and scores are not rescaled to a baseline. A text
    without tokens scores 0, and of a text that is longer than the encoder takes only the beginning is compared.

    Args:
        predictions: A text a row.
        references: The true texts of each row.
        model: Folder or hub name of the encoder. Scores of different encoders or layers do not compare.
        layer: Number of the layer whose output is compared: 0 is the embeddings, -1 the last.
        batch_size: Rows encoded at a time.

    Raises:
        UserError: The encoder is not there, or has no such layer.
    """
    check_rows(predictions, references)
    embed = _embedder(model)
    rows = []
    for start in range(0, len(predictions), batch_size):
        texts, gold = predictions[start : start + batch_size], references[start : start + batch_size]
        embedded = iter(embed([*texts, *(text for row in gold for text in row)], layer))
        found = [next(embedded) for _ in texts]
        rows += [
            max((match(tokens, next(embedded)) for _ in row), key=lambda score: score[2])
            for tokens, row in zip(found, gold, strict=True)
        ]
    return {f"bertscore_{name}": mean([row[i] for row in rows]) for i, name in enumerate(("precision", "recall", "f1"))}


def match(predicted: "Tensor", gold: "Tensor") -> tuple[float, float, float]:
    """Precision, recall and F of two texts from unit vectors ``(tokens, hidden)``."""
    if not len(predicted) or not len(gold):
        return 0.0, 0.0, 0.0
    similarity = predicted @ gold.T
    precision, recall = similarity.amax(1).mean().item(), similarity.amax(0).mean().item()
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@lru_cache(maxsize=1)  # a run scores with the same encoder after each epoch
def _embedder(name: str) -> "_Embedder":
    try:
        return _Embedder(name)
    except UserError as error:
        reason = str(error).replace("model.backbone", "the encoder")
        raise UserError(f"model.metrics 'bertscore:{name}': {reason}") from error


class _Embedder:
    """Unit vectors ``(tokens, hidden)`` of the tokens of texts, without special tokens."""

    def __init__(self, name: str) -> None:
        import torch
        from transformers import AutoModel

        from ftlit.models.backbones import load_model, load_tokenizer, max_positions

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
            raise UserError(f"the encoder of BERTScore has the layers 0 to {len(layers) - 1}, and -1 for the last; got {layer}")
        unit = torch.nn.functional.normalize(layers[layer].float(), dim=-1)
        return (vectors[kept] for vectors, kept in zip(unit, keep, strict=True))

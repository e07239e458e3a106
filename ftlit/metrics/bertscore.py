"""BERTScore: similarity of two texts by their token embeddings (Zhang et al., 2020)."""

from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ftlit.errors import UserError
from ftlit.metrics.ngrams import check_rows, mean

if TYPE_CHECKING:
    from torch import Tensor

NO_LIMIT = 1 << 30  # tokenizers without a maximum length return a huge number instead
# The layers that bert_score takes by default: those that agree best with human judgements (Zhang et al., 2020, appendix).
LAYERS = {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "bert-base-multilingual-cased": 9,
    "bert-base-chinese": 8,
    "roberta-base": 10,
    "roberta-large": 17,
    "roberta-large-mnli": 19,
    "distilroberta-base": 5,
    "distilbert-base-uncased": 5,
    "distilbert-base-multilingual-cased": 5,
    "albert-base-v2": 9,
    "albert-xxlarge-v2": 8,
    "xlm-roberta-base": 9,
    "xlm-roberta-large": 17,
    "mpnet-base": 8,
    "bart-base": 6,
    "bart-large": 10,
    "deberta-base": 9,
    "deberta-large": 16,
    "deberta-base-mnli": 9,
    "deberta-large-mnli": 18,
    "deberta-xlarge-mnli": 40,
}


def encoder_and_layer(encoder: str) -> tuple[str, int]:
    """Split ``<folder or hub name>@<layer>``; without a layer, it is that of bert_score, or -1 for an unknown encoder."""
    name, at, layer = encoder.rpartition("@")
    if at and layer.lstrip("-").isdecimal():
        return name, int(layer)
    return encoder, LAYERS.get(Path(encoder).name, -1)


def bertscore_signature(encoder: str) -> str:
    """Return the signature of BERTScore with an encoder."""
    name, layer = encoder_and_layer(encoder)
    shown = "last" if layer == -1 else layer
    return f"encoder:{name}|layer:{shown}|idf:no|rescaled:no|refs:best|transformers:{version('transformers')}"


def bertscore(
    predictions: list[str], references: list[list[str]], model: str, layer: int | None = None, batch_size: int = 32
) -> dict[str, float]:
    """Compute mean BERTScore precision, recall and F1, using the reference with the highest F1 in each row.

    Tokens are matched greedily by cosine similarity. All tokens have the same weight (no idf), except those that begin and
    end a text, which may be matched but do not count. Scores are not rescaled with a baseline. A text without tokens scores
    0. Texts longer than the encoder's limit are truncated.

    Args:
        predictions: One text per row.
        references: Reference texts of each row.
        model: Folder or hub name of the encoder, optionally followed by ``@`` and a layer. Scores of different encoders or
            layers are not comparable.
        layer: Layer whose output is compared. 0 is the embedding layer, -1 the last layer; by default that of `model`.
        batch_size: Number of rows to encode at a time.

    Raises:
        UserError: If the encoder cannot be found, or has no such layer.
    """
    check_rows(predictions, references)
    name, usual = encoder_and_layer(model)
    embed, layer = _embedder(name), usual if layer is None else layer
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


def match(predicted: "Embedded", gold: "Embedded") -> tuple[float, float, float]:
    """Compute precision, recall and F1 of two texts from their tokens."""
    if not predicted.counts.any() or not gold.counts.any():
        return 0.0, 0.0, 0.0
    similarity = predicted.vectors @ gold.vectors.T
    precision = similarity.amax(1)[predicted.counts].mean().item()
    recall = similarity.amax(0)[gold.counts].mean().item()
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


class Embedded(NamedTuple):
    """The tokens of a text.

    Attributes:
        vectors: A unit vector for each token, ``(tokens, hidden)``.
        counts: Whether a token counts; those that begin and end a text do not, ``(tokens,)``.
    """

    vectors: "Tensor"
    counts: "Tensor"


@lru_cache(maxsize=1)  # a run uses the same encoder after each epoch
def _embedder(name: str) -> "_Embedder":
    try:
        return _Embedder(name)
    except UserError as error:
        reason = str(error).replace("model.backbone", "the encoder")
        raise UserError(f"model.metrics 'bertscore:{name}': {reason}") from error


class _Embedder:
    """Embeds the tokens of texts."""

    def __init__(self, name: str) -> None:
        import torch
        from transformers import AutoModel

        from ftlit.models.backbones import load_model, load_tokenizer
        from ftlit.models.checks.positions import max_positions

        self.tokenizer = load_tokenizer(name)
        model: Any = load_model(AutoModel, name)[0]
        limits = (self.tokenizer.model_max_length, max_positions(model.config))
        self.limit = min((limit for limit in limits if limit and limit < NO_LIMIT), default=None)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = model.get_encoder() if model.config.is_encoder_decoder else model
        self.model = encoder.eval().to(self.device)

    def __call__(self, texts: list[str], layer: int) -> Iterator[Embedded]:
        import torch

        batch = self.tokenizer(
            [self._written(text) for text in texts],
            padding=True,
            padding_side="right",
            truncation=self.limit is not None,
            max_length=self.limit,
            return_tensors="pt",
        ).to(self.device)
        frame = [i for i in (self.tokenizer.cls_token_id, self.tokenizer.sep_token_id) if i is not None]
        counts = ~torch.isin(batch["input_ids"], torch.tensor(frame, dtype=torch.long, device=self.device))
        real = batch["attention_mask"] == 1
        with torch.inference_mode():
            layers = self.model(**batch, output_hidden_states=True).hidden_states
        if not -len(layers) <= layer < len(layers):
            raise UserError(
                f"layer must be from 0 to {len(layers) - 1} for this BERTScore encoder, or -1 for the last layer, got {layer}"
            )
        unit = torch.nn.functional.normalize(layers[layer].float(), dim=-1)
        return (Embedded(v[kept], c[kept]) for v, c, kept in zip(unit, counts, real, strict=True))

    def _written(self, text: str) -> str:
        """The text as bert_score tokenizes it: for RoBERTa and GPT-2, the first word is like those after a space."""
        from transformers import GPT2Tokenizer, RobertaTokenizer

        text = text.strip()
        return f" {text}" if text and isinstance(self.tokenizer, (GPT2Tokenizer, RobertaTokenizer)) else text

"""Back-translation of training texts with finished runs (Sennrich et al., 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ftlit.data.text.lexicon import split_words
from ftlit.errors import UserError

if TYPE_CHECKING:
    pass
from ftlit.data.rows.augment import Augmentation


@dataclass(frozen=True)
class BackTranslation(Augmentation):
    """Translates texts to another language and back, with finished runs of Seq2Seq.

    The same text always gives the same one, unless the runs sample.

    Args:
        forward_run: Folder of the run that translates the texts, or that paraphrases them.
        backward_run: Folder of the run that translates back; null where the first one already keeps the language.
        batch_size: Texts that go through the model together.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Where the models run; by default the GPU where there is one.
    """

    forward_run: str
    backward_run: str | None = None
    batch_size: int = 32
    checkpoint: str = "best"
    device: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"data.augment: BackTranslation.batch_size must be at least 1, got {self.batch_size}")

    def augmented(self, texts: list[str], rng: np.random.Generator, mask_token: str | None) -> list[str]:
        there = self._translated(self.forward_run, texts)
        back = there if self.backward_run is None else self._translated(self.backward_run, there)
        return [new if new.strip() and len(split_words(text)[0]) > 1 else text for text, new in zip(texts, back, strict=True)]

    def _translated(self, run: str, texts: list[str]) -> list[str]:
        from ftlit.exports.predict import load

        different = list(dict.fromkeys(text for text in texts if text.strip()))
        predictor = load(run, self.checkpoint, self.device)
        found = [row["prediction"] for row in predictor(different, batch_size=self.batch_size)]
        if hasattr(predictor.model, "label_names") or not all(isinstance(text, str) for text in found):
            raise UserError(f"data.augment: BackTranslation needs runs of Seq2Seq, and {run!r} does not write texts")
        new = dict(zip(different, found, strict=True))
        return [new.get(text, "") for text in texts]

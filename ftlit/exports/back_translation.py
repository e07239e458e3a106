"""Back-translation of training texts with finished runs (Sennrich et al., 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftlit.data.rows.augment import Augmentation
from ftlit.data.text.lexicon import split_words
from ftlit.errors import UserError


@dataclass(frozen=True)
class BackTranslation(Augmentation):
    """Translate texts into another language and back, with finished runs of Seq2Seq.

    The results are deterministic unless the runs sample.

    Args:
        forward_run: Folder of the run that translates (or paraphrases) the texts.
        backward_run: Folder of the run that translates back. Null if the first run does not change the language.
        batch_size: Number of texts per batch.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Device of the models. Defaults to the GPU if there is one.
    """

    forward_run: str
    backward_run: str | None = None
    batch_size: int = 32
    checkpoint: str = "best"
    device: str | None = None

    def augmented(self, texts: list[str], rng: np.random.Generator, mask_token: str | None) -> list[str]:
        translated = self._translate(self.forward_run, texts)
        back = translated if self.backward_run is None else self._translate(self.backward_run, translated)
        return [new if new.strip() and len(split_words(text)[0]) > 1 else text for text, new in zip(texts, back, strict=True)]

    def _translate(self, run: str, texts: list[str]) -> list[str]:
        from ftlit.exports.predict import load

        unique = list(dict.fromkeys(text for text in texts if text.strip()))
        predictor = load(run, self.checkpoint, self.device)
        found = [row["prediction"] for row in predictor(unique, batch_size=self.batch_size)]
        if hasattr(predictor.model, "label_names") or not all(isinstance(text, str) for text in found):
            raise UserError(f"data.augment: BackTranslation needs runs of Seq2Seq, but {run!r} does not generate texts")
        new = dict(zip(unique, found, strict=True))
        return [new.get(text, "") for text in texts]

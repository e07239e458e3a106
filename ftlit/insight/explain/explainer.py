"""Explain the predictions of a finished run for rows, in batches of similar lengths."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.data.batches.batching import Shuffled
from ftlit.errors import UserError
from ftlit.exports.predict import load
from ftlit.exports.predicting.predictor import Predictor
from ftlit.exports.predicting.sizes import by_tokens, tokens_of
from ftlit.insight.explain.examples import Batch, Example, batch_of
from ftlit.insight.explain.explanation import Explanation
from ftlit.insight.explain.methods import Attributed, Ends, ends_of, method_of
from ftlit.insight.explain.scorer import Scorer
from ftlit.insight.explain.tasks import view_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WINDOW_ROWS = 256  # that are encoded and sorted by length together
STAND_INS = ("mask_token_id", "unk_token_id", "pad_token_id", "eos_token_id")  # the first that a tokenizer has


class Explainer:
    """Explains the predictions of a run.

    Args:
        predictor: The run. Its weights need no gradients afterwards.
        method: Name of a method of `METHODS`.
        label: The label that is explained, by default what is predicted.
        batch_size: Number of texts per batch; by default as many as have 512 tokens on a CPU, and 16384 on a GPU.

    Raises:
        UserError: The method or label does not exist, or predictions of this task cannot be explained.
    """

    def __init__(self, predictor: Predictor, method: str, label: str | None = None, batch_size: int | None = None) -> None:
        self.predictor, self.method = predictor, method_of(method)
        self.view = view_of(predictor, label, predictor.sizes(batch_size))
        self.sizes = Shuffled(batch_size).eval_batch_sizes if batch_size else by_tokens(tokens_of(predictor.device))
        self.batch_size = batch_size
        self.stand_in = stand_in(predictor.data.tokenizer)
        self.scorer = Scorer(predictor.model.backbone, self.view.measure, self.stand_in, self.view.writes)
        predictor.model.requires_grad_(False)

    def stream(self, rows: Iterable[dict[str, Any]]) -> Iterator[Explanation]:
        """Yield the explanations of rows of `Predictor.row`, in their order; a row may have several, or none."""
        left, first = iter(rows), 0
        while window := list(islice(left, WINDOW_ROWS)):
            examples = self.view.examples(window)
            found: list[Explanation | None] = [None] * len(examples)
            for places, batch in self.batches(examples):
                ends = self.ends(batch)
                attributed = self.method(self.scorer, batch, ends)
                for k, place in enumerate(places):
                    row = examples[place].row
                    found[place] = _explanation(first + row, window[row]["id"], examples[place], ends, attributed, k)
            yield from (one for one in found if one is not None)
            first += len(window)

    def batches(self, examples: Sequence[Example]) -> Iterator[tuple[list[int], Batch]]:
        """Yield examples in batches of similar lengths, each with the positions of its examples."""
        lengths = np.array([example.tokens for example in examples])
        order = np.argsort(lengths, kind="stable")
        for part in np.split(order, np.cumsum(self.sizes(lengths[order]))[:-1]) if len(order) else ():
            places = part.tolist()
            batch = batch_of([examples[i] for i in places], self.predictor.data.pad_token_id, self.predictor.device)
            yield places, batch

    def ends(self, batch: Batch) -> Ends:
        """Return the outputs of a batch with and without words."""
        fitting = self.batch_size or tokens_of(self.predictor.device) // batch.of_tokens.shape[1]
        return ends_of(self.scorer, batch, fitting)


def _explanation(row: int, row_id: Any, example: Example, ends: Ends, attributed: Attributed, k: int) -> Explanation:
    """The explanation at a position of a batch."""
    values = attributed.words[k, : len(example.words.words)].tolist()
    output, base, chance, special = (float(one[k]) for one in (ends.output, ends.base, ends.chance, attributed.special))
    steps = None if attributed.steps is None else attributed.steps[k]
    return Explanation(row, row_id, example, output, base, chance, values, special, steps)


def stand_in(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the id of the token that stands in for removed words: the mask token if there is one.

    Raises:
        UserError: The tokenizer has none of `STAND_INS`.
    """
    found = next((i for name in STAND_INS if (i := getattr(tokenizer, name)) is not None), None)
    if found is None:
        raise UserError("explain needs a token that stands in for a word, and the tokenizer has none to mask, pad or end texts")
    return found


def explain(
    run: str | Path | Predictor,
    rows: Iterable[str | dict[str, Any]],
    method: str = "integrated_gradients",
    label: str | None = None,
    batch_size: int | None = None,
    checkpoint: str = "best",
    device: str | None = None,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> list[dict[str, Any]]:
    """Return how much each word adds to the predictions of a run, as in ``ftlit.explain("runs/x", ["some text"])``.

    Each explanation has the ``id`` of its row, the ``target`` that is explained, the ``prediction``, its ``score``, the
    ``output`` that is attributed, such as a logit, its ``difference`` to the output without words, the ``words`` with column,
    start, end and attribution, and the ``delta`` by which their sum exceeds the difference. A row with several labels, entities
    or written tokens has an explanation for each.

    Args:
        run: Folder of the run, or what `load` returned for it.
        rows: Texts, or rows with the columns of the run's data.
        method: ``integrated_gradients``, ``gradient_x_input``, ``occlusion`` or ``shapley``.
        label: The label to explain; by default what is predicted.
        batch_size: Number of texts per batch; by default as many as have 512 tokens on a CPU, and 16384 on a GPU.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Device of the model. Defaults to the GPU if there is one.
        trust_remote_code: Whether to run code that comes with the model. What the folder says has no effect.
        trust_classes: Import paths of classes outside ftlit that the folder may name.

    Raises:
        UserError: The run, a row, the method or the label cannot be used.
    """
    if isinstance(rows, str | dict):
        raise UserError("rows should be a list of texts or rows; put a single one into a list")
    opened = run if isinstance(run, Predictor) else load(run, checkpoint, device, trust_remote_code, trust_classes)
    opened = opened.uncalibrated()
    explainer = Explainer(opened, method, label, batch_size)
    checked = [opened.located_row(i, f"row {i + 1}", row) for i, row in enumerate(rows)]
    return [found.record() for found in explainer.stream(checked)]

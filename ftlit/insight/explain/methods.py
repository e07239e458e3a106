"""Methods of attribution: how much each word adds to an output. All are those of captum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ftlit.errors import UserError, near
from ftlit.insight.explain.examples import Batch
from ftlit.insight.explain.scorer import Scorer

FIRST_STEPS, MOST_STEPS = 16, 256  # of integrated gradients: at first, and for texts whose sums are not right before
TOLERANCE = 0.01  # share of the difference of outputs by which a sum may miss it
PERMUTATIONS = 25  # of words, over which Shapley values are averaged
SEED = 0  # of the permutations


@dataclass(frozen=True)
class Ends:
    """The outputs of a batch with all words, and without any.

    Args:
        whole: Embeddings with all words, ``(examples, tokens, width)``.
        bare: Embeddings without words, likewise.
        output: Output with all words, ``(examples,)``.
        base: Output without words, ``(examples,)``.
        chance: Probability with all words, or the predicted number, ``(examples,)``.
        together: Number of examples that fit into one call of the model.
    """

    whole: Tensor
    bare: Tensor
    output: Tensor
    base: Tensor
    chance: Tensor
    together: int

    @property
    def difference(self) -> Tensor:
        """What the words add to the output together, ``(examples,)``."""
        return self.output - self.base


@dataclass(frozen=True)
class Attributed:
    """What words add to outputs.

    Args:
        words: The attribution of each word, ``(examples, words)``; zero where an example has no word.
        special: The sum over special tokens, ``(examples,)``.
        steps: Number of steps of each example with integrated gradients, or None.
    """

    words: Tensor
    special: Tensor
    steps: list[int] | None = None


Method = Callable[..., Attributed]


def ends_of(scorer: Scorer, batch: Batch, together: int) -> Ends:
    """Return the outputs of a batch with and without words."""
    whole, bare = scorer.embedded(batch), scorer.bare(batch)
    rows = torch.arange(len(batch), device=whole.device)
    with torch.no_grad():
        (output, chance), (base, _) = scorer(whole, rows, batch), scorer(bare, rows, batch)
    return Ends(whole, bare, output, base, chance, max(together, len(batch)))


def integrated_gradients(scorer: Scorer, batch: Batch, ends: Ends, most: int = MOST_STEPS) -> Attributed:
    """Integrate gradients over the way from embeddings without words to those of the text (Sundararajan et al., 2017).

    The attributions add up to the difference of the outputs, up to the error of the integral. Steps of Gauss and Legendre
    begin at `FIRST_STEPS`, and are doubled for examples whose sum misses the difference by more than 1%, up to `most`.
    """
    values = torch.zeros_like(ends.whole[..., 0])
    steps, count = [0] * len(batch), FIRST_STEPS
    left = torch.arange(len(batch), device=values.device)
    while len(left) and count <= most:
        values[left] = _integrated(scorer, batch, ends, left, count)
        for i in left.tolist():
            steps[i] = count
        miss = (values.sum(1) - ends.difference)[left].abs()
        left, count = left[miss > TOLERANCE * ends.difference[left].abs()], 2 * count
    return Attributed(*batch.by_word(values), steps)


def _integrated(scorer: Scorer, batch: Batch, ends: Ends, rows: Tensor, steps: int) -> Tensor:
    """Integrated gradients of the tokens of some examples, ``(some, tokens)``."""
    found = _captum().IntegratedGradients(lambda embedded, some: scorer(embedded, some, batch)[0])
    values = found.attribute(
        ends.whole[rows],
        baselines=ends.bare[rows],
        additional_forward_args=(rows,),
        n_steps=steps,
        internal_batch_size=ends.together,
    )
    return values.sum(-1).to(ends.whole.dtype).detach()


def gradient_x_input(scorer: Scorer, batch: Batch, ends: Ends, most: int | None = None) -> Attributed:
    """Multiply the gradient of the output by the embeddings (Shrikumar et al., 2016)."""
    found = _captum().InputXGradient(lambda embedded, some: scorer(embedded, some, batch)[0])
    rows = torch.arange(len(batch), device=ends.whole.device)
    values = found.attribute(ends.whole.clone().requires_grad_(), additional_forward_args=(rows,))
    return Attributed(*batch.by_word(values.sum(-1).detach()))


def occlusion(scorer: Scorer, batch: Batch, ends: Ends, most: int | None = None) -> Attributed:
    """Return by how much the output falls when a word alone is removed (Zeiler and Fergus, 2014)."""
    return _ablated(_captum().FeatureAblation, scorer, batch, ends)


def shapley(scorer: Scorer, batch: Batch, ends: Ends, most: int | None = None) -> Attributed:
    """Add the words one after the other, in random orders, and average what each adds (Štrumbelj and Kononenko, 2010).

    The attributions add up to the difference of the outputs exactly. The global random state is not changed.
    """
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(SEED)
        return _ablated(_captum().ShapleyValueSampling, scorer, batch, ends, n_samples=PERMUTATIONS)


def _ablated(kind: Any, scorer: Scorer, batch: Batch, ends: Ends, **options: Any) -> Attributed:
    """Attributions of a method of captum that removes words, each of which is one number: 1 where it is there."""
    present, rows = torch.ones_like(batch.exists, dtype=torch.float32), torch.arange(len(batch), device=ends.whole.device)
    found = kind(lambda some, chosen: without_words(scorer, batch, ends, some, chosen)[0])
    at_once = max(1, ends.together // len(batch))
    with torch.no_grad():
        values = found.attribute(
            present, baselines=0, additional_forward_args=(rows,), perturbations_per_eval=at_once, **options
        )
    values = values.to(present.dtype).masked_fill(~batch.exists, 0)
    return Attributed(values, torch.zeros_like(ends.output))


def without_words(scorer: Scorer, batch: Batch, ends: Ends, present: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and probabilities with some words removed, ``(some,)`` each.

    Args:
        scorer: Computes them.
        batch: The examples.
        ends: Their embeddings.
        present: Whether each word is there, ``(some, words)``.
        rows: The examples that these are, ``(some,)``.
    """
    kept = batch.by_token(present, rows).unsqueeze(-1)
    return scorer(torch.where(kept, ends.whole[rows], ends.bare[rows]), rows, batch)


METHODS: dict[str, Method] = {
    "integrated_gradients": integrated_gradients,
    "gradient_x_input": gradient_x_input,
    "occlusion": occlusion,
    "shapley": shapley,
}


def method_of(name: str) -> Method:
    """Return a method by its name.

    Raises:
        UserError: There is none of this name, or captum is missing.
    """
    if name not in METHODS:
        raise UserError(f"--method {name!r} is none of {', '.join(METHODS)}. {near(name, METHODS)}")
    _captum()
    return METHODS[name]


def _captum() -> Any:
    try:
        from captum import attr
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "captum":
            raise
        raise UserError("ftlit explain needs the package captum; install it with: pip install -e '.[insight]'") from None
    return attr

"""Checks of whether attributions can be believed: do their words matter to the model, and do its weights matter to them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.insight.explain.examples import Batch
from ftlit.insight.explain.explainer import Explainer
from ftlit.insight.explain.explanation import Explanation
from ftlit.insight.explain.methods import FIRST_STEPS, Ends, without_words

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)  # of the words that are removed, or kept alone, as DeYoung et al. have them
ORDERS = 2  # random orders of the words of each text
MODELS = 10  # with random weights, each of which is compared on a part of the texts
FEWEST_WORDS = 3  # of a text whose ranking is compared
SEED = 0  # of random orders
LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over rows, or over models, with its 95% interval by Student's t; NaN where there are too few of them.

    Args:
        mean: The mean.
        low: Lower end of the interval.
        high: Upper end of the interval.
        count: Number of rows or models.
    """

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Faithfulness:
    """How the probability falls when words are removed, beside the same with words in random order.

    Args:
        attributed: Mean with words in the order of their attributions.
        random: Mean with words in random order.
        difference: Mean of the difference of both.
    """

    attributed: float
    random: float
    difference: Mean


@dataclass(frozen=True)
class Checks:
    """Checks of the attributions of a run.

    Args:
        comprehensiveness: By how much the probability falls without the words of highest attribution: high is good.
        sufficiency: By how much it falls with these words alone: low is good (DeYoung et al., 2020).
        randomised: Mean rank correlation between the attributions of the words of a text and those of the same model with
            random weights, over `MODELS` of these: near zero is good (Adebayo et al., 2018).
    """

    comprehensiveness: Faithfulness
    sufficiency: Faithfulness
    randomised: Mean


def check(explainer: Explainer, explanations: Sequence[Explanation]) -> Checks:
    """Check explanations. The weights of the model are random afterwards.

    Args:
        explainer: What made them.
        explanations: The explanations.

    Raises:
        UserError: SciPy is missing.
    """
    _scipy()
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    examples = [one.example for one in explanations]
    for places, batch in explainer.batches(examples):
        ends, chosen = explainer.ends(batch), [explanations[i] for i in places]
        for name, values in faithfulness(explainer, batch, ends, chosen).items():
            several = [len(one.attributions) > 1 for one in chosen]
            found[name] += [(one.row, value) for one, value, counts in zip(chosen, values, several, strict=True) if counts]
    found["randomised"] = randomised(explainer, explanations)
    return Checks(_faithful(found, "comprehensiveness"), _faithful(found, "sufficiency"), mean_by(found["randomised"]))


def randomised(explainer: Explainer, explanations: Sequence[Explanation]) -> list[tuple[int, float]]:
    """Return rank correlations of explanations and those of random weights, each with the number of the model that has these.

    One model would not do: what it makes of a word that is in all texts would decide the mean.
    """
    found, draw = [], RandomWeights(explainer.predictor.model)
    for number in range(min(MODELS, len(explanations))):
        some = explanations[number::MODELS]
        draw(number)
        for places, batch in explainer.batches([one.example for one in some]):
            again = explainer.method(explainer.scorer, batch, explainer.ends(batch), most=2 * FIRST_STEPS)
            for k, i in enumerate(places):
                own = some[i].attributions
                if (value := spearman(own, again.words[k, : len(own)].tolist())) is not None:
                    found.append((number, value))
    return found


def faithfulness(explainer: Explainer, batch: Batch, ends: Ends, explanations: Sequence[Explanation]) -> dict[str, list[float]]:
    """Return comprehensiveness and sufficiency of each explanation of a batch, and those of random orders of its words.

    Where the output is a number without probability, what counts is the way to it from the number without words.
    """
    values = torch.zeros_like(batch.exists, dtype=torch.float32)
    for k, one in enumerate(explanations):
        values[k, : len(one.attributions)] = torch.tensor(one.attributions, device=values.device)
    signs = torch.ones_like(ends.output) if explainer.view.has_chances else ends.difference.sign()
    generator = torch.Generator().manual_seed(SEED)
    random = [torch.rand(values.shape, generator=generator).to(values.device) for _ in range(ORDERS)]
    found = dict(zip(("comprehensiveness", "sufficiency"), _areas(explainer, batch, ends, values, signs), strict=True))
    others = [_areas(explainer, batch, ends, order, signs) for order in random]
    found |= {f"random {name}": torch.stack(both).mean(0) for name, both in zip(found, zip(*others, strict=True), strict=True)}
    return {name: area.tolist() for name, area in found.items()}


def _areas(explainer: Explainer, batch: Batch, ends: Ends, values: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean fall of the probability over `SHARES`, without the words of highest values and with them alone."""
    rows = torch.arange(len(batch), device=values.device)
    ordered = (values * signs.unsqueeze(1)).masked_fill(~batch.exists, -math.inf)
    ranks = ordered.sort(dim=1, descending=True, stable=True).indices.argsort(1)
    without, alone = torch.zeros_like(signs), torch.zeros_like(signs)
    with torch.no_grad():
        for share in SHARES:
            count = (share * batch.counts - 1e-4).ceil().clamp(min=1).unsqueeze(1)
            top = ranks < count
            for area, kept in ((without, ~top), (alone, top)):
                chance = without_words(explainer.scorer, batch, ends, kept.float(), rows)[1]
                area += signs * (ends.chance - chance) / len(SHARES)
    return without, alone


class RandomWeights:
    """Draws the weights of a model anew, from normal distributions with the mean and the deviation of each tensor.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.weights = list(model.parameters())
        numbers = [weight.detach().float() if weight.is_floating_point() else None for weight in self.weights]
        self.means = [0.0 if one is None else float(one.mean()) for one in numbers]
        self.deviations = [0.0 if one is None or one.numel() < 2 else float(one.std()) for one in numbers]

    @torch.no_grad()
    def __call__(self, seed: int) -> None:
        """Draw them. The global random state is not changed."""
        devices = {weight.device for weight in self.weights if weight.device.type == "cuda"}
        with torch.random.fork_rng(sorted(devices, key=str)):
            torch.manual_seed(seed)
            for weight, mean, deviation in zip(self.weights, self.means, self.deviations, strict=True):
                if weight.is_floating_point():
                    weight.normal_(mean, deviation)
                else:
                    weight.random_()  # packed numbers of few bits


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the rank correlation of two lists; None for short ones, and where all numbers of a list are equal."""
    if len(one) < FEWEST_WORDS or min(np.ptp(one), np.ptp(other)) == 0:
        return None
    return float(_scipy().spearmanr(one, other).statistic)


def _faithful(found: dict[str, list[tuple[int, float]]], name: str) -> Faithfulness:
    own, random = found[name], found[f"random {name}"]
    differences = [(row, value - other) for (row, value), (_, other) in zip(own, random, strict=True)]
    return Faithfulness(mean_by(own).mean, mean_by(random).mean, mean_by(differences))


def mean_by(values: Iterable[tuple[int, float]]) -> Mean:
    """Return the mean of numbers by row or model; those of one, which are not independent, count as their mean."""
    groups: dict[int, list[float]] = defaultdict(list)
    for group, value in values:
        groups[group].append(value)
    means = np.array([np.mean(some) for some in groups.values()])
    if not len(means):
        return Mean(math.nan, math.nan, math.nan, 0)
    if len(means) == 1:
        return Mean(float(means[0]), math.nan, math.nan, 1)
    half = float(_scipy().t.ppf((1 + LEVEL) / 2, len(means) - 1) * means.std(ddof=1) / math.sqrt(len(means)))
    middle = float(means.mean())
    return Mean(middle, middle - half, middle + half, len(means))


def _scipy() -> Any:
    try:
        from scipy import stats
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "scipy":
            raise
        raise UserError(
            "the checks of ftlit explain need SciPy; install it with: pip install -e '.[insight]', or leave them out with "
            "--checks false"
        ) from None
    return stats

"""A planted shortcut is found, random weights change the picture, and faithful attributions differ from random ones."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import ftlit
from ftlit.exports.predicting.predictor import Predictor
from ftlit.insight.explain.checks import MODELS, RandomWeights, check, faithfulness, mean_by, spearman
from ftlit.insight.explain.examples import batch_of
from ftlit.insight.explain.explainer import Explainer
from ftlit.insight.explain.methods import METHODS
from tests.support.data import NEUTRAL, write_splits
from tests.support.serving import untrained

SHORTCUTS = {"bad": "word74", "good": "word75"}  # tokens that decide the label
TRAIN, STEPS, ROWS = 960, 120, 40


def rows_with_shortcuts(count: int, seed: int, without: float = 0.0) -> list[dict[str, str]]:
    """Texts of 6 to 12 words, one of which decides the label; a share is without such a word, and has any label."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        label = rng.choice(list(SHORTCUTS))
        words = rng.choices(NEUTRAL[:70], k=rng.randint(5, 11))
        if rng.random() >= without:
            words.insert(rng.randint(0, len(words)), SHORTCUTS[label])
        rows.append({"text": " ".join(words), "label": label})
    return rows


@pytest.fixture(scope="module")
def trained(tiny: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Predictor]:
    """A classifier that has learned the shortcuts, anew at each call."""
    splits = {"train": rows_with_shortcuts(TRAIN, 0, 0.4), "test": rows_with_shortcuts(ROWS, 1)}
    data = ftlit.TextClassificationData(
        dataset=write_splits(tmp_path_factory.mktemp("shortcuts"), splits), backbone=tiny("bert")
    )
    first = untrained("TextClassification", data)
    optimizer = torch.optim.Adam(first.model.parameters(), lr=3e-3)
    encoded = data.encode({name: [row[name] for row in splits["train"]] for name in ("text", "label")})
    for step in range(STEPS):
        chosen = [(16 * step + i) % TRAIN for i in range(16)]
        loss = first.model.batch_losses(data.collate({name: [values[i] for i in chosen] for name, values in encoded.items()}))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    weights = {name: value.clone() for name, value in first.model.state_dict().items()}

    def make() -> Predictor:
        found = untrained("TextClassification", data)
        found.model.load_state_dict(weights)
        return found

    return make


@pytest.fixture(scope="module")
def texts() -> list[dict[str, Any]]:
    return [{"id": i, **row} for i, row in enumerate(rows_with_shortcuts(ROWS, 9))]


BY_DEFAULT = [pytest.param(m, marks=[] if m == "integrated_gradients" else [pytest.mark.slow]) for m in METHODS]


@pytest.mark.parametrize("method", BY_DEFAULT)
def test_a_planted_shortcut_is_ranked_first(method: str, trained: Callable[[], Predictor], texts: list[Any]) -> None:
    predictor = trained()
    assert [found["prediction"] for found in predictor(texts)] == [row["label"] for row in texts]
    explanations = Explainer(predictor, method).stream(texts)
    first = [one.example.words.words[int(np.argmax(one.attributions))].text for one in explanations]
    least = 0.8 if method == "gradient_x_input" else 0.95  # the logit is flat where a label is certain
    assert sum(word in SHORTCUTS.values() for word in first) >= least * ROWS


@pytest.mark.parametrize("method", BY_DEFAULT)
def test_the_checks_tell_a_trained_model_from_a_random_one(
    method: str, trained: Callable[[], Predictor], texts: list[Any]
) -> None:
    explainer = Explainer(trained(), method)
    found = check(explainer, list(explainer.stream(texts)))
    assert abs(found.randomised.mean) <= 0.2
    assert found.comprehensiveness.difference.low > 0
    assert found.sufficiency.difference.high < 0
    assert found.comprehensiveness.attributed > found.comprehensiveness.random
    assert (found.randomised.count, found.sufficiency.difference.count) == (MODELS, ROWS)


def test_attributions_at_random_are_found_out(trained: Callable[[], Predictor], texts: list[Any]) -> None:
    explainer = Explainer(trained(), "gradient_x_input")
    rng = np.random.default_rng(0)
    found = [replace(one, attributions=rng.normal(size=len(one.attributions)).tolist()) for one in explainer.stream(texts)]
    checks = check(explainer, found)
    assert checks.comprehensiveness.difference.low < 0 < checks.comprehensiveness.difference.high
    assert checks.sufficiency.difference.low < 0 < checks.sufficiency.difference.high


def test_faithfulness_is_what_its_definition_says(trained: Callable[[], Predictor], texts: list[Any]) -> None:
    """For one text, by replacing its tokens: means over 1, 5, 10, 20 and 50% of the words, rounded up."""
    predictor = trained()
    explainer = Explainer(predictor, "occlusion")
    [one] = explainer.stream(texts[:1])
    batch = batch_of([one.example], predictor.data.pad_token_id, "cpu")
    found = faithfulness(explainer, batch, explainer.ends(batch), [one])
    order, count = np.argsort([-value for value in one.attributions]).tolist(), len(one.attributions)

    def probability(removed: list[int]) -> float:
        gone = sum((batch.of_tokens == word).int() for word in removed).bool()  # type: ignore[union-attr]
        ids = batch.inputs["input_ids"].masked_fill(gone, explainer.stand_in)
        with torch.no_grad():
            return explainer.view.measure({**batch.inputs, "input_ids": ids}, batch.aims)[1].item()

    tops = [order[: math.ceil(share * count - 1e-9)] for share in (0.01, 0.05, 0.1, 0.2, 0.5)]
    without = [one.score - probability(top) for top in tops]
    alone = [one.score - probability([word for word in order if word not in top]) for top in tops]
    assert found["comprehensiveness"] == pytest.approx([np.mean(without)], abs=1e-5)
    assert found["sufficiency"] == pytest.approx([np.mean(alone)], abs=1e-5)


def test_random_weights_have_the_mean_and_deviation_of_each_tensor() -> None:
    torch.manual_seed(3)
    layer = torch.nn.Linear(200, 200)
    before, state = layer.weight.detach().clone(), torch.get_rng_state()
    draw = RandomWeights(layer)
    draw(1)
    other = layer.weight.detach().clone()
    draw(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert layer.weight.std().item() == pytest.approx(before.std().item(), rel=0.02)
    for one in (before, other):
        assert abs(stats.pearsonr(layer.weight.detach().flatten(), one.flatten()).statistic) < 0.02


def test_rank_correlations() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 50]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 2, 3], [5, 5, 5]) is None


def test_the_interval_of_a_mean_is_over_rows_or_models() -> None:
    """Several outputs of one row count as one number; the interval is Student's."""
    found = mean_by([(0, 1.0), (0, 3.0), (1, 4.0), (2, 9.0)])
    expected = stats.ttest_1samp([2, 4, 9], 0).confidence_interval()
    assert (found.mean, found.count) == (5.0, 3)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert math.isnan(mean_by([(0, 1.0)]).low)
    assert math.isnan(mean_by([]).mean)

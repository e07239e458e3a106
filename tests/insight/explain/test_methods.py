"""Attributions of linear models, which are known, and of others, which captum computes by hand."""

import pytest
import torch
from captum.attr import InputXGradient, LayerIntegratedGradients, ShapleyValueSampling
from torch import Tensor, nn

from ftlit.insight.explain.examples import Batch, Example, batch_of
from ftlit.insight.explain.methods import FIRST_STEPS, METHODS, MOST_STEPS, Ends, ends_of
from ftlit.insight.explain.scorer import Scorer
from ftlit.insight.explain.words import Word, Words

STAND_IN, PAD, BEGIN = 1, 0, 2
Inputs = dict[str, Tensor]
# Tokens, the word of each, and the output that is explained.
TEXTS = [([BEGIN, 5, 6, 7], [-1, 0, 0, 1], 0), ([BEGIN, 8, 9, 5, 3, 4], [-1, 0, 1, 2, 2, 3], 2), ([BEGIN, 6], [-1, 0], 1)]


class Model(nn.Module):
    """Sums the embeddings of a text, and maps the sum to three outputs: by a matrix, or through a curve before it.

    Args:
        curve: The curve, or None.
    """

    def __init__(self, curve: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.curve, self.head = nn.Embedding(10, 4), curve or nn.Identity(), nn.Linear(4, 3)
        self.calls = 0

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.curve((self.table(input_ids) * attention_mask.unsqueeze(-1)).sum(1)))

    def measure(self, inputs: Inputs, aims: Inputs) -> tuple[Tensor, Tensor]:
        outputs = self(**inputs)
        chosen = aims["label"].unsqueeze(1)
        return outputs.gather(1, chosen).squeeze(1), outputs.softmax(-1).gather(1, chosen).squeeze(1)


def examples() -> list[Example]:
    found = []
    for ids, of_tokens, label in TEXTS:
        words = [Word(f"w{i}", "text", 3 * i, 3 * i + 2) for i in range(max(of_tokens) + 1)]
        found.append(Example(0, "", "", {"input_ids": ids}, {"label": label}, Words(words, of_tokens)))
    return found


def prepared(model: Model, together: int = 8) -> tuple[Scorer, Batch, Ends]:
    batch, scorer = batch_of(examples(), PAD, "cpu"), Scorer(model, model.measure, STAND_IN)
    return scorer, batch, ends_of(scorer, batch, together)


def check_close(found: Tensor, expected: list[Tensor]) -> None:
    torch.testing.assert_close(found, torch.stack(expected).float().detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_linear_model_has_the_attributions_of_its_formula(name: str) -> None:
    """A token adds its embedding less that of the token that stands in for it, times the weights of the output."""
    model = Model()
    scorer, batch, ends = prepared(model)
    found = METHODS[name](scorer, batch, ends)
    for k, (ids, of_tokens, label) in enumerate(TEXTS):
        weight, origin = model.head.weight[label], 0 if name == "gradient_x_input" else model.table.weight[STAND_IN]
        expected = torch.zeros(batch.words)
        for token, word in zip(ids, of_tokens, strict=True):
            if word >= 0:
                expected[word] += ((model.table.weight[token] - origin) @ weight).detach()
        torch.testing.assert_close(found.words[k], expected, atol=1e-5, rtol=1e-5)
        special = (model.table.weight[BEGIN] @ weight).detach() if name == "gradient_x_input" else torch.tensor(0.0)
        torch.testing.assert_close(found.special[k], special, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["integrated_gradients", "shapley"])
def test_attributions_add_up(name: str) -> None:
    scorer, batch, ends = prepared(Model(nn.Tanh()))
    found = METHODS[name](scorer, batch, ends)
    tolerance = 0.01 * ends.difference.abs() if name == "integrated_gradients" else torch.full((3,), 1e-5)
    assert ((found.words.sum(1) + found.special - ends.difference).abs() <= tolerance).all()


def test_integrated_gradients_are_those_of_captum() -> None:
    model = Model(nn.Tanh())
    scorer, batch, ends = prepared(model)
    found = METHODS["integrated_gradients"](scorer, batch, ends)
    assert found.steps is not None
    for k, (ids, of_tokens, label) in enumerate(TEXTS):
        given = torch.tensor([ids])
        bare = given.masked_fill(torch.tensor([of_tokens]) >= 0, STAND_IN)
        by_hand = LayerIntegratedGradients(lambda ids: model(ids, torch.ones_like(ids)), model.table)
        values = by_hand.attribute(given, bare, target=label, n_steps=found.steps[k]).sum(-1)[0]
        expected = [values[torch.tensor(of_tokens) == word].sum() for word in range(max(of_tokens) + 1)]
        check_close(found.words[k, : len(expected)], expected)


def test_shapley_values_are_those_of_captum() -> None:
    """One text alone, since the random orders depend on the number of words."""
    model = Model(nn.Tanh())
    scorer = Scorer(model, model.measure, STAND_IN)
    batch = batch_of(examples()[1:2], PAD, "cpu")
    found = METHODS["shapley"](scorer, batch, ends_of(scorer, batch, 8))
    ids, of_tokens, label = TEXTS[1]
    given, words = torch.tensor([ids]), torch.tensor([of_tokens])
    sampling = ShapleyValueSampling(lambda ids: model(ids, torch.ones_like(ids)))
    torch.manual_seed(0)
    values = sampling.attribute(
        given,
        baselines=given.masked_fill(words >= 0, STAND_IN),
        target=label,
        feature_mask=words.clamp(min=0),  # the special token, which nothing replaces, may belong to any word
        n_samples=25,
    )
    expected = [values[0, of_tokens.index(word)] for word in range(4)]
    check_close(found.words[0], expected)


def test_gradient_x_input_is_that_of_captum() -> None:
    model = Model(nn.Tanh())
    scorer, batch, ends = prepared(model)
    found = METHODS["gradient_x_input"](scorer, batch, ends)

    def output(embedded: Tensor) -> Tensor:
        return model.head(model.curve(embedded.sum(1)))

    for k, (ids, of_tokens, label) in enumerate(TEXTS):
        embedded = model.table(torch.tensor([ids])).detach().requires_grad_()
        values = InputXGradient(output).attribute(embedded, target=label).sum(-1)[0]
        assert found.special[k].item() == pytest.approx(values[0].item(), abs=1e-6)
        for word in range(max(of_tokens) + 1):
            expected = values[torch.tensor(of_tokens) == word].sum().item()
            assert found.words[k, word].item() == pytest.approx(expected, abs=1e-6)


def test_the_random_state_stays_as_it_is() -> None:
    scorer, batch, ends = prepared(Model())
    before = torch.get_rng_state()
    METHODS["shapley"](scorer, batch, ends)
    assert torch.equal(torch.get_rng_state(), before)


class Steep(nn.Module):
    """A step that is so steep that few points of the way to it are not enough."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.sigmoid(60 * values)


def test_steps_are_doubled_for_texts_whose_sums_are_not_right() -> None:
    scorer, batch, ends = prepared(Model(Steep()))
    found = METHODS["integrated_gradients"](scorer, batch, ends)
    few = METHODS["integrated_gradients"](scorer, batch, ends, most=FIRST_STEPS)
    assert found.steps is not None
    assert few.steps is not None
    assert set(few.steps) == {FIRST_STEPS}
    assert max(found.steps) > FIRST_STEPS
    assert max(found.steps) <= MOST_STEPS

    def misses(words: Tensor) -> Tensor:
        return (words.sum(1) - ends.difference).abs() / ends.difference.abs()

    for k, steps in enumerate(found.steps):
        assert misses(found.words)[k] <= 0.01 or steps == MOST_STEPS
        assert steps == FIRST_STEPS or misses(few.words)[k] > 0.01


def test_more_texts_in_one_call_give_the_same() -> None:
    model = Model(nn.Tanh())
    one, many = prepared(model, together=1), prepared(model, together=64)
    for name, method in METHODS.items():
        model.calls = 0
        few = method(*one)
        calls, model.calls = model.calls, 0
        torch.testing.assert_close(method(*many).words, few.words, atol=1e-6, rtol=1e-5)
        assert model.calls < calls or name == "gradient_x_input"

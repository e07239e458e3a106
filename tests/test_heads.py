"""Pooling and heads: what the padding holds must not matter, and where it stands neither."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from ftlit.errors import UserError
from ftlit.heads import EntityHead, PooledHead, TaskHead
from ftlit.models import own_heads
from tests.support.small import LENGTHS, classifier, logits_of, ragged_batch

POOLINGS = ("cls", "last", "mean", "max", "attention")


def hidden_and_mask(left: bool = False) -> tuple[Tensor, Tensor]:
    """Random token vectors ``(4, 11, 5)`` of ragged texts, padded on the right or left."""
    torch.manual_seed(0)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return torch.randn(4, max(LENGTHS), 5), mask.flip(1) if left else mask


def pool(kind: str) -> nn.Module:
    torch.manual_seed(1)
    return own_heads.pool(kind, 5)


def reference(kind: str, tokens: Tensor, pooling: nn.Module) -> Tensor:
    """The vector of one text from its real tokens ``(tokens, 5)``."""
    if kind == "attention":
        return (pooling.query.weight[0] @ tokens.T).softmax(-1) @ tokens  # type: ignore[union-attr, operator]
    found = {"cls": tokens[0], "last": tokens[-1], "mean": tokens.mean(0), "max": tokens.max(0).values}
    return found[kind]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_sees_the_real_tokens_alone(kind: str, left: bool) -> None:
    hidden, mask = hidden_and_mask(left)
    pooling = pool(kind)
    expected = torch.stack([reference(kind, h[m.bool()], pooling) for h, m in zip(hidden, mask, strict=True)])
    torch.testing.assert_close(pooling(hidden, mask), expected)
    noise = torch.where(mask.bool()[..., None], hidden, 1e4)
    torch.testing.assert_close(pooling(noise, mask), expected)


@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_sends_no_gradient_into_padding(kind: str) -> None:
    hidden, mask = hidden_and_mask()
    hidden.requires_grad_(True)
    pool(kind)(hidden, mask).sum().backward()
    assert hidden.grad[mask == 0].abs().max() == 0
    assert hidden.grad[mask == 1].abs().sum() > 0
    assert torch.isfinite(hidden.grad).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooled_logits_do_not_depend_on_padding(pooling: Any, tiny: Callable[[str], str]) -> None:
    module = classifier(tiny("bert"), head=PooledHead(pooling=pooling, layers=2))
    batch = ragged_batch()
    together = logits_of(module, batch)
    for i, length in enumerate(LENGTHS):
        alone = {**batch, **{key: batch[key][i : i + 1, :length] for key in ("input_ids", "attention_mask")}}
        torch.testing.assert_close(logits_of(module, alone)[0], together[i], atol=1e-5, rtol=0)


def test_pooled_head_is_as_deep_as_asked(tiny: Callable[[str], str]) -> None:
    module = classifier(tiny("bert"), head=PooledHead(layers=3, dropout=0.25))
    kinds = [nn.Dropout, nn.Linear, nn.Tanh, nn.Dropout, nn.Linear, nn.Tanh, nn.Dropout, nn.Linear]
    assert len(module.model.head) == len(kinds)
    assert all(isinstance(part, kind) for part, kind in zip(module.model.head, kinds, strict=True))
    assert [part.out_features for part in module.model.head if isinstance(part, nn.Linear)] == [32, 32, 2]
    assert {part.p for part in module.model.head if isinstance(part, nn.Dropout)} == {0.25}


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet"])
def test_pooled_head_leaves_no_weight_without_gradient(architecture: str, tiny: Callable[[str], str]) -> None:
    module = classifier(tiny(architecture), head=PooledHead())
    module.training_step(ragged_batch(), 0).backward()
    assert [name for name, weight in module.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("architecture", ["distilbert", "llama", "gpt2"])
def test_pooled_head_rebuilds_heads_of_transformers(architecture: str, tiny: Callable[[str], str]) -> None:
    """A decoder's own head is `last` with one bias-free layer; DistilBERT's is `cls` with two, and ReLU between."""
    own = classifier(tiny(architecture), head=TaskHead())
    ours = classifier(tiny(architecture), head=PooledHead("cls" if architecture == "distilbert" else "last", dropout=0.0))
    own.eval()
    if architecture == "distilbert":
        ours.model.head = nn.Sequential(own.model.pre_classifier, nn.ReLU(), own.model.classifier)
    else:
        ours.model.head[1].weight.data, ours.model.head[1].bias.data = own.model.score.weight.data, torch.zeros(2)
    batch = ragged_batch()
    torch.testing.assert_close(logits_of(ours, batch), logits_of(own, batch), atol=1e-6, rtol=0)


@pytest.mark.parametrize("head", [PooledHead(), EntityHead()], ids=str)
def test_heads_on_tokens_need_the_text_s_own(head: Any, tiny_seq2seq: Callable[[str], str]) -> None:
    with pytest.raises(
        UserError, match=r"needs a vector for each token of the text, but model\.backbone is an encoder-decoder model \(t5\)"
    ):
        classifier(tiny_seq2seq("t5"), head=head)


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "llama"])
def test_task_head_is_the_model_of_transformers(architecture: str, tiny: Callable[[str], str]) -> None:
    module = classifier(tiny(architecture))
    assert isinstance(module.model, AutoModelForSequenceClassification._model_mapping[type(module.model.config)])
    reference = copy.deepcopy(module.model).eval()
    batch = ragged_batch()
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert torch.equal(reference(**inputs).logits, logits_of(module, batch))
    assert module.model.config.id2label == {0: "bad", 1: "good"}

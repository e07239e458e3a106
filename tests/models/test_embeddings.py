"""New tokens beside a pretrained table: old ids are looked up as before, new ones always train."""

import pytest
import torch
from torch import Tensor, nn
from transformers.models.bart.modeling_bart import BartScaledWordEmbedding

from ftlit.errors import UserError
from ftlit.models.embeddings import ExtendedEmbedding, ExtendedHead, extend_embeddings

IDS = torch.tensor([[0, 3, 8], [9, 7, 2]])


def tables(first: int = 8) -> tuple[nn.Embedding, ExtendedEmbedding]:
    torch.manual_seed(0)
    base = nn.Embedding(first, 500, padding_idx=0)
    return base, ExtendedEmbedding(base, first, 2)


def test_old_and_new_ids() -> None:
    base, table = tables()
    whole = torch.cat([base.weight, table.extra])
    assert torch.equal(table(IDS), whole[IDS])
    assert table.weight is base.weight


def test_new_ids_inside_a_table_that_is_larger_than_its_vocabulary() -> None:
    base = nn.Embedding(12, 4)
    table = ExtendedEmbedding(base, 8, 2)
    found = table(torch.arange(12))
    assert torch.equal(found[8:10], table.extra)
    assert torch.equal(found[[*range(8), 10, 11]], base.weight[[*range(8), 10, 11]])


def test_gradients_reach_the_rows_that_were_looked_up() -> None:
    base, table = tables()
    table(IDS).sum().backward()
    assert base.weight.grad.abs().sum(1).nonzero().flatten().tolist() == [2, 3, 7]  # 0 is padding
    assert table.extra.grad.tolist() == [[1.0] * 500] * 2


def test_new_rows_begin_near_the_mean() -> None:
    base, table = tables(100)
    off = (table.extra - base.weight.mean(0)).detach()
    assert float(off.std()) == pytest.approx(0.1, rel=0.15)
    assert not torch.equal(table.extra[0], table.extra[1])


def test_scaled_embeddings_scale_new_rows_too() -> None:
    base = BartScaledWordEmbedding(8, 4, padding_idx=0, embed_scale=3.0)
    table = ExtendedEmbedding(base, 8, 2)
    assert torch.equal(table(IDS[:, :2].clamp(max=7)), base(IDS[:, :2].clamp(max=7)))
    assert torch.equal(table(torch.tensor([9])), table.extra[1:] * 3)


@pytest.mark.parametrize(("scale", "first"), [(1.0, 8), (3.0, 8), (3.0, 6)], ids=["plain", "scaled", "first in the table"])
def test_one_table_of_both_looks_up_the_same(scale: float, first: int) -> None:
    table = ExtendedEmbedding(BartScaledWordEmbedding(8, 4, padding_idx=0, embed_scale=scale), first, 2)
    ids = torch.arange(first + 2)[None]
    assert torch.equal(table.plain()(ids), table(ids))


def test_embeddings_that_do_something_else_are_refused() -> None:
    class Hashed(nn.Embedding):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input % 3)

    with pytest.raises(UserError, match="tokens cannot be added to embeddings of type Hashed"):
        ExtendedEmbedding(Hashed(8, 4), 8, 2)


def test_ids_with_gaps_are_refused() -> None:
    with pytest.raises(UserError, match=r"\[8, 10\], which are not consecutive"):
        extend_embeddings(None, [8, 10])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("first", [8, 6])
def test_new_rows_of_an_output(bias: bool, first: int) -> None:
    torch.manual_seed(0)
    base, extra = nn.Linear(4, 8, bias), nn.Parameter(torch.randn(2, 4))
    states = torch.randn(3, 5, 4)
    found, known = ExtendedHead(base, first, extra, tied=False)(states), base(states)
    assert found.shape == (3, 5, max(8, first + 2))
    assert torch.equal(found[..., :first], known[..., :first])
    assert torch.equal(found[..., first : first + 2], states @ extra.T)

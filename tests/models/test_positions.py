"""The longest text that a model takes: one of that length runs, and a longer one does not."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from ftlit.models.checks.positions import max_positions, positions_follow_padding
from tests.support.models import SIZE
from tests.support.speeds import some_by_default

FAMILIES: list[tuple[str, dict[str, Any], int]] = [  # the configuration, and how many of its 40 positions texts have
    ("roberta", {"pad_token_id": 3}, 36),
    ("xlm-roberta-xl", {"pad_token_id": 1}, 38),
    ("xmod", {"pad_token_id": 1, "default_language": "en_XX"}, 38),
    ("ibert", {"pad_token_id": 0}, 39),
    ("esm", {"pad_token_id": 1}, 38),
    ("luke", {"pad_token_id": 1, "entity_vocab_size": 5}, 38),
    ("mpnet", {"pad_token_id": 3}, 38),  # it uses 1, whatever the configuration says
    ("bert", {}, 40),
    ("nystromformer", {}, 40),
    ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}, 40),
    ("gpt2", {"n_embd": 32}, 40),
    ("longformer", {"pad_token_id": 1, "attention_window": 4}, 38),
    ("camembert", {"pad_token_id": 1}, 38),
    ("data2vec-text", {"pad_token_id": 1}, 38),
    ("roberta-prelayernorm", {"pad_token_id": 1}, 38),
    ("markuplm", {"pad_token_id": 1}, 38),
    ("bart", {"d_model": 32}, 40),
]


@pytest.mark.parametrize(("family", "settings", "limit"), some_by_default(FAMILIES, chosen=range(8)))
def test_the_longest_text_runs_and_a_longer_one_does_not(family: str, settings: dict[str, Any], limit: int) -> None:
    given = {**SIZE, "num_hidden_layers": 1, "vocab_size": 50, "max_position_embeddings": 40, **settings}
    config = AutoConfig.for_model(family, **given)
    before = torch.get_rng_state()
    assert max_positions(config) == limit
    assert torch.equal(torch.get_rng_state(), before), "weights that are drawn later would differ"
    assert positions_follow_padding(config) == (limit < 40)
    model = AutoModel.from_config(config).eval()

    def run(tokens: int) -> None:
        model(input_ids=torch.full((1, tokens), 7), attention_mask=torch.ones(1, tokens, dtype=torch.long))

    run(limit)
    with pytest.raises((IndexError, RuntimeError)):
        run(limit + 1)


def test_some_models_have_no_limit() -> None:
    assert max_positions(AutoConfig.for_model("xlnet", d_model=32, n_layer=1, n_head=2)) is None
    assert max_positions(AutoConfig.for_model("t5")) is None

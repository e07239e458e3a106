"""Files that do not hold the weights of their configuration are refused, with the names of the weights."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    LlamaForCausalLM,
)

from ftlit.errors import UserError
from ftlit.models.backbones import load_model
from tests.support.models import SIZE
from tests.support.small import classifier
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]


def changed(folder: str, to: Path, **settings: Any) -> str:
    """A copy of a model whose configuration says something else."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **settings}))
    return str(to)


OTHERS: list[tuple[str, dict[str, Any], str]] = [
    (
        "bert",
        {"hidden_size": 64},
        r"config\.json does not describe its weights: 37 have other shapes, such as bert\.embeddings\.LayerNorm\.bias with "
        r"\(32,\) in the files and \(64,\) by config\.json; use the config\.json that belongs to these weights",
    ),
    ("bert", {"vocab_size": 90}, r"1 have other shapes, such as bert\.embeddings\.word_embeddings\.weight with \(100, 32\)"),
    (
        "bert",
        {"num_hidden_layers": 3},
        r"its files lack 16 weights that config\.json describes, such as bert\.encoder\.layer\.2\.attention\S+; only a head",
    ),
    ("llama", {"intermediate_size": 64}, r"6 have other shapes, such as model\.layers\.0\.mlp\.down_proj\.weight"),
    ("gpt2", {"n_layer": 4}, r"its files lack \d+ weights that config\.json describes, such as transformer\.h\.2\."),
    ("deberta-v2", {"max_position_embeddings": 32}, r"2 have other shapes, such as deberta\.embeddings\.position_embeddings"),
]


@pytest.mark.parametrize(("architecture", "settings", "says"), some_by_default(OTHERS, chosen=(0, 1, 2, 4)))
def test_weights_that_do_not_fit(architecture: str, settings: dict[str, Any], says: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = changed(tiny(architecture), tmp_path / "model", **settings)
    with pytest.raises(UserError, match=rf"model\.backbone '{re.escape(folder)}': .*{says}"):
        classifier(folder)


def test_a_head_may_have_another_shape(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=50, num_labels=5, **SIZE)  # type: ignore[arg-type]
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    model, fresh = load_model(AutoModelForSequenceClassification, str(tmp_path), num_labels=3)
    assert [tuple(weight.shape) for weight in fresh] == [(3, 32), (3,)]
    assert model.bert.pooler.dense.weight.requires_grad


def test_a_pooler_and_a_head_may_be_missing(tmp_path: Path) -> None:
    BertModel(BertConfig(vocab_size=50, **SIZE), add_pooling_layer=False).save_pretrained(tmp_path)  # type: ignore[arg-type]
    _, fresh = load_model(AutoModelForSequenceClassification, str(tmp_path))
    assert len(fresh) == 4
    assert load_model(AutoModelForMaskedLM, str(tmp_path))[1]


def test_the_head_of_a_language_model_is_pretrained_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = {**SIZE, "num_key_value_heads": 2, "vocab_size": 50, "tie_word_embeddings": False}
    model = LlamaForCausalLM(LlamaForCausalLM.config_class(**settings))
    model.lm_head = torch.nn.Linear(32, 60, bias=False)
    model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"1 have other shapes, such as lm_head\.weight with \(60, 32\) in the files"):
        load_model(AutoModelForCausalLM, str(tmp_path))


def test_layers_that_are_left_out_are_named(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = changed(tiny("bert"), tmp_path / "model", num_hidden_layers=1)
    classifier(folder)
    said = f"note: {folder!r} holds 1 more layers than its config.json describes, such as encoder.layer.1; they are left out\n"
    assert capsys.readouterr().err.endswith(said)
    classifier(tiny("bert"))
    assert "note:" not in capsys.readouterr().err


def test_decoders_of_t5_start_with_the_pad_token(tiny_seq2seq: Tiny, tmp_path: Path) -> None:
    folder = changed(tiny_seq2seq("t5"), tmp_path / "t5", decoder_start_token_id=None)
    (tmp_path / "t5/generation_config.json").unlink(missing_ok=True)
    model: Any = classifier(folder).model
    assert model.config.decoder_start_token_id == 0
    folder = changed(tiny_seq2seq("bart"), tmp_path / "bart", decoder_start_token_id=None)
    with pytest.raises(UserError, match=r"has a decoder, but its config\.json has no decoder_start_token_id, the token with"):
        classifier(folder)

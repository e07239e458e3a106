"""Folders without a tokenizer, and tokenizers that do not belong to their model."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn
from transformers import AutoConfig, AutoModel

from ftlit.data import TextClassificationData
from ftlit.errors import UserError
from ftlit.models.backbones import load_tokenizer
from ftlit.models.embeddings import ExtendedEmbedding, check_token_ids
from ftlit.models.encoder_decoder import decoder_tokenizer
from tests.support.command_line import arguments, refusal
from tests.support.models import ARCHITECTURES, SIZE, tiny_tokenizer
from tests.support.small import classifier
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]


@pytest.mark.parametrize("architecture", some_by_default([*ARCHITECTURES], chosen=(0, 1, 7, 8)))
def test_a_folder_without_a_tokenizer(architecture: str, tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny(architecture), tmp_path / "model", ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    says = r"has no tokenizer: expected tokenizer\.json, or a vocabulary such as vocab\.txt, beside its config\.json; copy"
    for load in (load_tokenizer, decoder_tokenizer):
        with pytest.raises(UserError, match=says):
            load(str(tmp_path / "model"))


def test_a_tokenizer_without_its_vocabulary(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("bert"), tmp_path / "model", ignore=shutil.ignore_patterns("tokenizer.json"))
    (tmp_path / "model/tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(UserError, match="has no tokenizer: expected"):
        load_tokenizer(str(tmp_path / "model"))


def test_pairs_of_texts_for_a_model_with_one_token_type(grades: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model("roberta", **SIZE, vocab_size=100, type_vocab_size=1, pad_token_id=0)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    data = TextClassificationData(dataset=grades, backbone=str(tmp_path), text_pair="other", label="score")
    data.setup()
    assert "token_type_ids" not in data.encoded["train"].column_names
    batch = data.collate(data.encoded["train"][:4])
    assert classifier(str(tmp_path))(batch).logits.shape == (4, 2)


def test_tokens_without_an_embedding() -> None:
    tokenizer, table = tiny_tokenizer(), nn.Embedding(90, 4)
    check_token_ids(np.array([0, 89, -100]), table, tokenizer, "model")
    says = r"the tokenizer of 'model' gives the token 'word66' the id 90, but the model has embeddings of 90 tokens only"
    with pytest.raises(UserError, match=says):
        check_token_ids(np.array([3, 90]), table, tokenizer, "model")
    extended = ExtendedEmbedding(table, 100, 4)
    check_token_ids(np.array([89, 100, 103]), extended, tokenizer, "model")
    with pytest.raises(UserError, match="the id 95"):
        check_token_ids(np.array([100, 95]), extended, tokenizer, "model")


def test_a_run_with_such_tokens_leaves_nothing(
    sentiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    AutoModel.from_config(AutoConfig.for_model("bert", **SIZE, vocab_size=60)).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    given = {"model__backbone": tmp_path / "model", "data__dataset": sentiment, "run_dir": tmp_path / "run"}
    said = refusal(arguments("fit", "TextClassification", "TextClassificationData", **given), capsys)
    assert re.search(r"gives the token 'word\d\d' the id \d\d, but the model has embeddings of 60 tokens only", said)
    assert not (tmp_path / "run").exists()

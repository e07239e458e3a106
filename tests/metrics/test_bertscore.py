"""BERTScore against a plain loop over tokens, and matching by hand."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, T5Config, T5Model

from ftlit.errors import UserError
from ftlit.metrics.bertscore import Embedded, bertscore, encoder_and_layer, match
from ftlit.models import backbones

PREDICTIONS = ["good fine word1", "word3", "bad word2 word7 poor word9", ""]
REFERENCES = [["fine good word1 word2 word5"], ["word4 word3", "word3"], ["word8", "bad poor", "good"], ["dull"]]


def plain_score(folder: str, layer: int, predicted: str, gold: str) -> tuple[float, float, float]:
    """Token by token, each text alone and so without padding; the first and the last token may be matched, but do not count."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    for text in (predicted, gold):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        vectors.append(list(hidden))
    if len(vectors[0]) == 2:
        return 0.0, 0.0, 0.0
    near = [[float(torch.cosine_similarity(a, b, dim=0)) for b in vectors[1]] for a in vectors[0]]
    precision = sum(max(row) for row in near[1:-1]) / (len(near) - 2)
    recall = sum(max(column) for column in [*zip(*near, strict=True)][1:-1]) / (len(near[0]) - 2)
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("layer", "batch_size"), [(-1, 32), (1, 1), (0, 3)])
def test_scores_are_those_of_a_plain_loop(tiny: Callable[[str], str], layer: int, batch_size: int) -> None:
    rows = [
        max((plain_score(tiny("bert"), layer, text, g) for g in gold), key=lambda score: score[2])
        for text, gold in zip(PREDICTIONS, REFERENCES, strict=True)
    ]
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    assert means[0] != pytest.approx(means[1], abs=1e-3)
    scores = bertscore(PREDICTIONS, REFERENCES, tiny("bert"), layer=layer, batch_size=batch_size)
    expected = dict(zip(("bertscore_precision", "bertscore_recall", "bertscore_f1"), means, strict=True))
    assert scores == pytest.approx(expected, abs=1e-5)


def test_scores_are_those_of_bert_score(tiny: Callable[[str], str], tmp_path: Path) -> None:
    library = pytest.importorskip("bert_score")
    folder = str(tmp_path)
    AutoModel.from_pretrained(tiny("bert")).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny("bert"), model_max_length=64).save_pretrained(folder)
    texts, gold = PREDICTIONS[:3], [row[0] for row in REFERENCES[:3]]
    expected = library.score(texts, gold, model_type=folder, num_layers=1, device="cpu")
    scores = bertscore(texts, [[text] for text in gold], f"{folder}@1")
    assert [*scores.values()] == pytest.approx([float(values.mean()) for values in expected], abs=1e-5)


@pytest.mark.parametrize("architecture", ["roberta", "gpt2"])
def test_equal_texts_score_one(tiny: Callable[[str], str], architecture: str) -> None:
    texts = ["good word1", " ".join(["word2"] * 90), "bad"]  # the second is longer than the model's positions
    scores = bertscore(texts, [["poor", text] for text in texts], tiny(architecture))
    assert scores["bertscore_f1"] == pytest.approx(1, abs=1e-5)
    assert bertscore(texts, [["dull grim"]] * 3, tiny(architecture))["bertscore_f1"] < 0.99


def test_an_encoder_decoder_lends_its_encoder(tiny: Callable[[str], str], tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(tiny("bert")).save_pretrained(tmp_path)
    config = T5Config(vocab_size=100, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2)
    T5Model(config).save_pretrained(tmp_path)
    texts = ["good word1", "bad"]  # neither the tokenizer nor the model has a longest input
    assert bertscore(texts, [[text] for text in texts], str(tmp_path))["bertscore_f1"] == pytest.approx(1, abs=1e-5)


def test_greedy_matching_by_hand() -> None:
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    between = torch.tensor([math.sqrt(0.5), math.sqrt(0.5)])
    assert match(text(x), text(x, y)) == pytest.approx((1, 1 / 2, 2 / 3))
    half = math.sqrt(0.5)
    assert match(text(x, y), text(between)) == pytest.approx((half, half, half))
    assert match(text(x), text(y)) == (0, 0, 0)
    # A token that begins a text may be matched, but does not count itself.
    assert match(text(y, x, counts=[False, True]), text(x, y)) == pytest.approx((1, 1, 1))
    assert match(text(x), text(y, counts=[False])) == (0, 0, 0)


def text(*vectors: torch.Tensor, counts: list[bool] | None = None) -> Embedded:
    return Embedded(torch.stack(vectors), torch.tensor(counts or [True] * len(vectors)))


def test_the_layer_is_that_of_bert_score_or_the_given_one() -> None:
    assert encoder_and_layer("roberta-large") == ("roberta-large", 17)
    assert encoder_and_layer("models/roberta-large") == ("models/roberta-large", 17)
    assert encoder_and_layer("my@host/model") == ("my@host/model", -1)
    assert encoder_and_layer("bert-base-uncased@-1") == ("bert-base-uncased", -1)


def test_nothing_to_score_and_mistakes(tiny: Callable[[str], str]) -> None:
    assert set(bertscore([], [], tiny("bert")).values()) == {0}
    with pytest.raises(
        UserError, match="layer must be from 0 to 2 for this BERTScore encoder, or -1 for the last layer, got 3"
    ):
        bertscore(["good"], [["bad"]], tiny("bert"), layer=3)
    with pytest.raises(UserError, match="row 0 has no reference"):
        bertscore(["good"], [[]], tiny("bert"))
    with pytest.raises(UserError, match=r"^model\.metrics 'bertscore:\./nowhere': the encoder './nowhere' is not a folder"):
        bertscore(["good"], [["bad"]], "./nowhere")


def test_an_encoder_is_loaded_once(tiny: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = backbones.load_model
    monkeypatch.setattr(backbones, "load_model", lambda kind, name: (loaded.append(name), load(kind, name))[1])
    names = [tiny("roberta"), tiny("roberta"), tiny("bert"), tiny("bert"), tiny("roberta")]
    bertscore(["good"], [["bad"]], tiny("gpt2"))
    scores = [bertscore(["good"], [["bad"]], name, layer=-1)["bertscore_f1"] for name in names]
    assert loaded[-3:] == [tiny("roberta"), tiny("bert"), tiny("roberta")]
    assert scores[0] == scores[1] == scores[4] != scores[2]
    assert bertscore(["good"], [["bad"]], names[-1], layer=0)["bertscore_f1"] != scores[4], "any layer of it"

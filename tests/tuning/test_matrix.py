"""Every tuning method on every architecture: what moves, what is saved, what is merged; the gaps are in `methods.py`."""

import re
from collections.abc import Callable
from itertools import product

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.models.layer_depths import layer_stack
from tests.support import models
from tests.support.small import logits_of
from tests.support.tuning.life import check_life, merged, texts, tuned
from tests.support.tuning.methods import ARCHITECTURES, GAPS, METHODS, PAIRS, sampled

Tiny = Callable[[str], str]
SHARE = 16  # one pair in so many runs by default, beside all of bert
CASES = sampled(PAIRS, SHARE, lambda method, architecture: architecture == "bert" and "+" not in method)
POOLED = [(m, a) for m, a in product(METHODS, ("bert", "modernbert", "gpt2")) if (m, a) in PAIRS]
ON_BERT = [method for method, architecture in PAIRS if architecture == "bert"]
FRESH = ("Frozen", "LoRA", "PromptTuning", "GradualUnfreezing", "HeadFirst")  # run by default where a head is fresh inside


def test_every_architecture_is_here() -> None:
    assert {*ARCHITECTURES} == {*models.ARCHITECTURES, "t5"}
    assert {method for method, _ in GAPS} <= METHODS.keys()


def test_every_method_is_here() -> None:
    import ftlit.tuning

    classes = {type(method.tuning).__name__ for method in METHODS.values()}
    assert classes == set(ftlit.tuning.__all__) - {"Tuning"}


@pytest.mark.parametrize(("method", "architecture"), CASES)
def test_moved_saved_merged(method: str, architecture: str, folder_of: Tiny) -> None:
    given = METHODS[method]
    module = check_life(lambda seed: tuned(folder_of(architecture), given.tuning, seed), given.moves)
    logits = logits_of(module, batch := texts(9))
    if not given.merges:
        with pytest.raises(
            UserError, match=r"cannot be merged (into the backbone: its learned parameters|into 4-bit weights without loss)"
        ):
            merged(module)
        return
    plain = AutoModelForSequenceClassification.from_config(module.model.config).eval()
    plain.load_state_dict(merged(module).state_dict())  # every name is the plain model's
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        torch.testing.assert_close(plain(**inputs).logits, logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("method", "architecture"), GAPS)
def test_gaps_are_refused_with_a_sentence(method: str, architecture: str, folder_of: Tiny) -> None:
    with pytest.raises(UserError) as refused:
        tuned(folder_of(architecture), METHODS[method].tuning)
    assert re.search(GAPS[method, architecture].says, str(refused.value)), refused.value


@pytest.mark.parametrize(("method", "architecture"), sampled(POOLED, 8, lambda method, architecture: False))
def test_moved_saved_merged_with_an_own_head(method: str, architecture: str, folder_of: Tiny) -> None:
    head, given = PooledHead("attention", layers=2), METHODS[method]
    module = check_life(lambda seed: tuned(folder_of(architecture), given.tuning, seed, head=head), given.moves)
    if given.merges:
        logits = logits_of(module, texts(9))
        names = dict(tuned(folder_of(architecture), METHODS["Full"].tuning, head=head).model.named_parameters())
        assert dict(merged(module).named_parameters()).keys() == names.keys()
        torch.testing.assert_close(logits_of(module, texts(9)), logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", [m for m, given in METHODS.items() if given.merges])
def test_a_method_begins_at_the_pretrained_model(method: str, folder_of: Tiny) -> None:
    expected = logits_of(tuned(folder_of("bert"), METHODS["Full"].tuning), texts())
    found = logits_of(tuned(folder_of("bert"), METHODS[method].tuning), texts())
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


# The lowest layers in which nothing trains at first, of the two that there are.
RESTING = {"Frozen": 2, "TopLayers": 1, "LoRA-layer": 1, "GradualUnfreezing": 2, "HeadFirst": 2, "HeadFirst-LoRA": 2}


@pytest.mark.parametrize("method", sampled([(method,) for method in ON_BERT], 1, lambda method: True))
def test_dropout_is_off_in_frozen_lowest_layers_alone(method: str, folder_of: Tiny) -> None:
    module = tuned(folder_of("bert"), METHODS[method].tuning)
    resting = RESTING.get(method, 0)
    stack = layer_stack(module.backbone)[1]
    assert [{part.training for part in layer.modules()} for layer in stack] == [{i >= resting} for i in range(2)]
    dropouts = {name: part.training for name, part in module.backbone.named_modules() if name.endswith("embeddings.dropout")}
    assert list(dropouts.values()) == [not resting]
    assert module.model.classifier.training


@pytest.fixture(scope="module")
def without_pooler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT whose files lack the pooler, as those of a masked language model do."""
    folder = tmp_path_factory.mktemp("without_pooler")
    config = BertConfig(vocab_size=100, max_position_embeddings=64, **models.ARCHITECTURES["bert"])  # type: ignore[arg-type]
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    models.tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("method", sampled([(method,) for method in ON_BERT], 4, lambda method: method in FRESH))
def test_weights_that_the_files_lack_train_and_are_saved(method: str, without_pooler: str) -> None:
    given = METHODS[method]
    module = check_life(lambda seed: tuned(without_pooler, given.tuning, seed), given.moves, lambda name: "pooler." in name)
    assert sum("pooler." in name for name, _ in module.named_parameters()) == 2

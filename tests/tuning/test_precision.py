"""Methods in less than 32 bits, and on two devices: on BERT, and what runs here is what the table of compatibility says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ftlit.errors import UserError
from tests.support.small import logits_of, without_dropout
from tests.support.tuning.devices import run
from tests.support.tuning.life import check_comes_back, fit, intended, moved, texts, tuned, values
from tests.support.tuning.methods import METHODS, PAIRS, PRECISION_GAPS, PRECISIONS, sampled

Tiny = Callable[[str], str]
ON_BERT = [method for method, architecture in PAIRS if architecture == "bert"]
CHOSEN = ("Full", "LoRA", "AdaLoRA", "PrefixTuning", "GradualUnfreezing", "LoRA+BitFit")  # run by default


@pytest.mark.parametrize(
    ("method", "precision"),
    sampled(
        [(m, p) for m in ON_BERT for p in PRECISIONS[1:] if (m, p) not in PRECISION_GAPS],
        99,
        lambda method, precision: method in CHOSEN,
    ),
)
def test_every_precision(method: str, precision: str, tiny: Tiny) -> None:
    given, half = METHODS[method], precision == "bf16-true"
    module, again = (tuned(tiny("bert"), given.tuning, seed) for seed in (0, 1))
    if half:  # as Lightning makes it, so that what is compared below begins alike
        module, again = module.bfloat16().float(), again.bfloat16().float()
    before, expected = values(module), intended(module, given.moves)
    fit(module, precision=precision)
    assert moved(before, module.float()) == expected
    check_comes_back(module, again, expected, lambda found: logits_of(found, texts(9)))


@pytest.mark.parametrize(("method", "precision"), PRECISION_GAPS)
def test_methods_of_32_bits(method: str, precision: str, tiny: Tiny) -> None:
    with pytest.raises(UserError, match=PRECISION_GAPS[method, precision].says):
        fit(tuned(tiny("bert"), METHODS[method].tuning), precision=precision)


@pytest.mark.parametrize("method", sampled([(method,) for method in ON_BERT], 99, lambda method: method in CHOSEN[-1:]))
def test_two_devices_agree(method: str, tiny: Tiny, sentiment: str, tmp_path: Path) -> None:
    folder = without_dropout(tiny("bert"), tmp_path / "model")
    alone = run(folder, sentiment, METHODS[method].tuning, 1, tmp_path)[0]
    first, second = run(folder, sentiment, METHODS[method].tuning, 2, tmp_path)
    assert (first["world"], second["world"]) == (2, 2)
    for name, weight in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], weight, atol=2e-5, rtol=0, msg=name)

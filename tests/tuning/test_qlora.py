"""LoRA on a backbone of 4 bits, where bitsandbytes is installed; it runs on processors too."""

from collections.abc import Callable

import pytest
import torch

from ftlit.errors import UserError
from ftlit.tuning import QLoRA
from tests.support.small import classifier, logits_of, ragged_batch, saved
from tests.support.tuning.methods import ARCHITECTURES

pytest.importorskip("bitsandbytes", reason="QLoRA needs the extra `quantized`")
Tiny = Callable[[str], str]


@pytest.mark.parametrize("architecture", ARCHITECTURES[:-1])  # all but T5
def test_the_frozen_layers_have_4_bits_and_the_head_has_not(architecture: str, tiny: Tiny) -> None:
    module = classifier(tiny(architecture), tuning=QLoRA(r=2))
    kinds = {name: type(part).__name__ for name, part in module.model.named_modules()}
    assert "Linear4bit" in kinds.values()
    heads = [kind for name, kind in kinds.items() if name.split(".")[-1] in ("classifier", "score", "pooler")]
    assert heads
    assert "Linear4bit" not in heads


def test_it_learns_and_comes_back_without_its_frozen_weights(tiny: Tiny) -> None:
    module, again = (classifier(tiny("bert"), seed, tuning=QLoRA(r=2)) for seed in (0, 1))
    optimizer = torch.optim.AdamW([w for w in module.parameters() if w.requires_grad], lr=1e-2)
    losses = []
    for step in range(8):
        loss = module.training_step(ragged_batch(), step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05
    checkpoint = saved(module)
    assert all("lora_" in name or "classifier" in name for name in checkpoint["state_dict"])
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    assert torch.equal(logits_of(again, ragged_batch(seed=9)), logits_of(module, ragged_batch(seed=9)))


def test_it_is_not_merged(tiny: Tiny) -> None:
    module = classifier(tiny("bert"), tuning=QLoRA(r=2))
    with pytest.raises(UserError, match=r"QLoRA cannot be merged into 4-bit weights without loss; .* --adapter-only"):
        module.tuning.merge(module.backbone)

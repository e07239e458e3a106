"""Methods in stages: what trains when, what the optimizer knows of it, and the same on several devices."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from transformers import AutoModelForMaskedLM

from ftlit.errors import UserError
from ftlit.tasks import MaskedLM, TextClassification
from ftlit.tuning import BitFit, Frozen, Full, GradualUnfreezing, HeadFirst, LoRA, TopLayers, Tuning
from ftlit.tuning.base import is_scheduled
from tests.support.small import without_dropout
from tests.support.speeds import some_by_default
from tests.support.tuning.devices import run
from tests.support.tuning.life import fit, texts, tuned, values

Tiny = Callable[[str], str]
HEAD = r"^model\.(classifier|score|classification_head)\."
# What joins in each stage, by the names of each architecture, which has two layers.
JOINS = {
    "bert": [rf"{HEAD}|\.pooler\.", r"\.layer\.1\.", r"\.layer\.0\.", r"\.embeddings\."],
    "distilbert": [r"classifier\.", r"\.layer\.1\.", r"\.layer\.0\.", r"\.embeddings\."],
    "llama": [rf"{HEAD}|\.norm\.", r"\.layers\.1\.", r"\.layers\.0\.", r"\.embed_tokens\."],
    "gpt2": [rf"{HEAD}|\.ln_f\.", r"\.h\.1\.", r"\.h\.0\.", r"\.w[tp]e\."],
    "t5": [rf"{HEAD}|\.final_layer_norm\.", r"\.block\.1\.", r"\.block\.0\.", r"\.shared\."],
}


@pytest.fixture
def with_head(tiny: Tiny, tmp_path: Path) -> str:
    """A BERT with the head of its pre-training."""
    folder = without_dropout(tiny("bert"), tmp_path / "pretrained")
    AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tuning", [Frozen(), HeadFirst(then=LoRA())])
def test_a_pretrained_head_that_would_not_train(tuning: Tuning, with_head: str) -> None:
    with pytest.raises(UserError, match="leaves nothing to train: BertForMaskedLM has no new head"):
        MaskedLM(backbone=with_head, tuning=tuning, pad_token_id=0)


def test_a_pretrained_head_first(with_head: str) -> None:
    """The words are tied to the embeddings, which wait."""
    module = MaskedLM(backbone=with_head, tuning=HeadFirst(), pad_token_id=0)
    first = {name for name, weight in module.named_parameters() if weight.requires_grad}
    assert first == {name for name, _ in module.named_parameters() if ".cls." in name}
    module.tuning.set_stage(module.backbone, 1)
    assert all(weight.requires_grad for weight in module.parameters())


class Watch(Callback):
    """Which weights each step moves, and of which the optimizer keeps a state."""

    def __init__(self) -> None:
        self.moved: list[set[str]] = []
        self.known: list[set[str]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.before = values(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        after, optimizer = values(pl_module), trainer.optimizers[0]
        self.moved.append({name for name, value in after.items() if not torch.equal(value, self.before[name])})
        self.known.append({name for name, weight in pl_module.named_parameters() if weight in optimizer.state})


def watched(module: TextClassification, batches: int, **options: Any) -> Watch:
    watch = Watch()
    fit(module, [texts(seed) for seed in range(batches)], watch, **options)
    return watch


def names(module: TextClassification, *patterns: str) -> set[str]:
    return {name for name, _ in module.named_parameters() if any(re.search(pattern, name) for pattern in patterns)}


@pytest.mark.parametrize("architecture", JOINS)
def test_layers_join_from_the_top(architecture: str, folder_of: Tiny) -> None:
    stages = JOINS[architecture]
    module = tuned(folder_of(architecture), GradualUnfreezing(steps=[1, 3, 4]))
    watch = watched(module, 5)
    expected = [names(module, *stages[:count]) for count in (1, 2, 2, 3, 4)]
    assert len({len(found) for found in expected}) == 4
    assert watch.moved == expected
    assert watch.known == expected
    assert expected[-1] == {name for name, _ in module.named_parameters()}


def test_a_layer_an_epoch(tiny: Tiny) -> None:
    stages = JOINS["bert"]
    module = tuned(tiny("bert"), GradualUnfreezing())
    assert watched(module, 2, max_steps=-1, max_epochs=3).moved == [
        names(module, *stages[:count]) for count in (1, 1, 2, 2, 3, 3)
    ]
    module = tuned(tiny("bert"), GradualUnfreezing(epochs=2))
    assert watched(module, 1, max_steps=-1, max_epochs=3).moved == [names(module, *stages[:count]) for count in (1, 1, 2)]


def test_layers_join_with_optimizer_steps_not_batches(tiny: Tiny) -> None:
    """Two batches accumulate to a step."""
    module = tuned(tiny("bert"), GradualUnfreezing(steps=[1]))
    moved = watched(module, 6, max_steps=3, accumulate_grad_batches=2).moved
    assert moved == [set(), names(module, *JOINS["bert"][:1]), *[set(), names(module, *JOINS["bert"][:2])] * 2]


def test_layers_below_the_last_step_stay_frozen(tiny: Tiny) -> None:
    module = tuned(tiny("bert"), GradualUnfreezing(steps=[0, 1]))
    assert watched(module, 3).moved == [names(module, *JOINS["bert"][:count]) for count in (2, 3, 3)]
    frozen = {name for name, weight in module.named_parameters() if not weight.requires_grad and not is_scheduled(weight)}
    assert frozen == names(module, r"\.embeddings\.")


@pytest.mark.parametrize(
    ("then", "pattern"),
    [(Full(), "."), (TopLayers(1), r"\.layer\.1\.|pooler"), (BitFit(), r"bias$"), (LoRA(r=2, init="orthogonal"), r"\.lora_")],
    ids=["Full", "TopLayers", "BitFit", "LoRA"],
)
def test_the_head_first(then: Tuning, pattern: str, tiny: Tiny) -> None:
    module = tuned(tiny("bert"), HeadFirst(steps=2, then=then))
    watch = watched(module, 4)
    head, later = names(module, HEAD), names(module, HEAD, pattern)
    assert head < later
    assert watch.moved == [head, head, later, later]
    assert watch.known == [head, head, later, later]


def test_the_head_first_by_epochs(tiny: Tiny) -> None:
    module = tuned(tiny("bert"), HeadFirst())
    watch = watched(module, 2, max_steps=-1, max_epochs=2)
    assert watch.moved == [names(module, HEAD)] * 2 + [names(module, ".")] * 2


def test_a_stage_of_the_head_is_the_training_of_the_head_alone(tiny: Tiny, tmp_path: Path) -> None:
    """Until the backbone joins, every weight is what it is where the backbone stays frozen."""
    folder = without_dropout(tiny("bert"), tmp_path / "model")
    staged, frozen = tuned(folder, HeadFirst(steps=3)), tuned(folder, Frozen())
    before_the_last = watched(staged, 4).before
    fit(frozen)
    for name, value in values(frozen).items():
        assert torch.equal(before_the_last[name], value), name


DISTRIBUTED: dict[str, tuple[Tuning, dict[int, str]]] = {  # what begins to train after which number of steps
    "GradualUnfreezing": (GradualUnfreezing(steps=[2, 4, 9]), {3: r"\.layer\.1\.", 5: r"\.layer\.0\.", 10: r"\.embeddings\."}),
    "GradualUnfreezing by epochs": (GradualUnfreezing(), {7: r"\.layer\.1\."}),
    "HeadFirst": (HeadFirst(steps=5), {6: r"^model\.bert\."}),
    "HeadFirst, LoRA": (HeadFirst(then=LoRA(r=2, init="orthogonal")), {7: r"\.lora_"}),
}


@pytest.mark.parametrize("method", some_by_default([*DISTRIBUTED], chosen=(0, 3)))
def test_two_devices_train_what_one_trains(method: str, tiny: Tiny, sentiment: str, tmp_path: Path) -> None:
    """Weights that join late are the same on both ranks, though gradients were first exchanged without them."""
    tuning, joins = DISTRIBUTED[method]
    folder = without_dropout(tiny("bert"), tmp_path / "model")
    alone = run(folder, sentiment, tuning, 1, tmp_path)[0]
    first, second = run(folder, sentiment, tuning, 2, tmp_path)
    assert (first["world"], second["world"]) == (2, 2)
    assert first["begun"] == second["begun"] == alone["begun"]
    head = {name for name, step in alone["begun"].items() if step == 1}
    for step, pattern in joins.items():
        found = {name for name, begun in alone["begun"].items() if begun == step}
        assert found == {n for n in alone["weights"] if re.search(pattern, n) and not n.endswith("_ids")} - head
    for name, weight in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], weight, atol=1e-5, rtol=0, msg=name)


def test_the_comparison_of_devices_would_notice(tiny: Tiny, sentiment: str, tmp_path: Path) -> None:
    """A layer that joined late but did not learn would be further away than the comparison allows."""
    folder = without_dropout(tiny("bert"), tmp_path / "model")
    late = run(folder, sentiment, GradualUnfreezing(steps=[2, 4, 9]), 1, tmp_path)[0]["weights"]
    start = dict(tuned(folder, Full()).named_parameters())
    for pattern in JOINS["bert"][1:]:
        assert max(float((late[name] - start[name]).abs().max()) for name in start if re.search(pattern, name)) > 3e-4, pattern

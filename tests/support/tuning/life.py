"""The life of a tuned classifier: it trains by Lightning, is saved, comes back, and is merged."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ftlit.heads import TaskHead
from ftlit.tasks import TaskModule, TextClassification
from ftlit.tuning import Tuning
from tests.support.small import classifier, logits_of, ragged_batch, saved
from tests.support.tuning.methods import Rule

END = 3  # the token that ends a text, which T5's classification head looks for


def texts(seed: int = 0) -> dict[str, Any]:
    """A batch of four texts of 3 to 11 tokens."""
    batch = ragged_batch(seed=seed)
    batch["input_ids"][range(4), batch["attention_mask"].sum(1) - 1] = END
    return batch


def tuned(folder: str, tuning: Tuning, seed: int = 0, **options: Any) -> TextClassification:
    """A classifier with fresh weights of a seed, whose optimizer has no weight decay: what moves has a gradient."""
    head: dict[str, Any] = {"head": TaskHead()}  # not that of Frozen, so that all methods have the same
    adam = {"optimizer": lambda params: torch.optim.Adam(params, lr=1e-2), "schedule": "constant", "warmup_ratio": 0.0}
    return classifier(folder, seed, tuning=tuning, **{**head, **adam, **options})


class Gradients(Callback):
    """Checks at every step that exactly the weights that train have a gradient."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        odd = [name for name, weight in pl_module.named_parameters() if weight.requires_grad != (weight.grad is not None)]
        assert odd == [], "trained without a gradient, or frozen with one"


def fit(module: TaskModule, batches: list[dict[str, Any]] | None = None, *callbacks: Callback, **options: Any) -> Trainer:
    """Train on batches, by default three steps, and give the trainer."""
    batches = [texts(seed) for seed in range(3)] if batches is None else batches
    given = {"max_steps": len(batches), "enable_checkpointing": False, **options}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", callbacks=[Gradients(), *callbacks], limit_val_batches=0, **quiet, **given)
    trainer.fit(module, train_dataloaders=DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return trainer


def values(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights and buffers."""
    return {name: weight.detach().clone() for name, weight in (*module.named_parameters(), *module.named_buffers())}


def moved(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    """Names of the weights and buffers that are no longer what they were, bit by bit."""
    after = values(module)
    assert before.keys() == after.keys()
    assert all(torch.isfinite(value).all() for value in after.values() if value.is_floating_point())
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def intended(module: TaskModule, moves: Rule) -> set[str]:
    """Names of the weights that must move: the head's, and those of the backbone that a rule finds."""
    prefix = f"model.{module.model.base_model_prefix}."
    return {n for n, _ in module.named_parameters() if not n.startswith(prefix) or moves(n.removeprefix(prefix))}


def kept(module: TaskModule, names: set[str]) -> set[str]:
    """What a checkpoint must hold: some weights under each of their names, and the buffers that are saved."""
    weights = dict(module.named_parameters(remove_duplicate=False))
    ids = {id(weights[name]) for name in names}
    buffers = module.state_dict().keys() & dict(module.named_buffers(remove_duplicate=False)).keys()
    return {name for name, weight in weights.items() if id(weight) in ids} | buffers


def check_comes_back(module: TaskModule, again: TaskModule, names: set[str], call: Callable[[Any], Any]) -> None:
    """A fresh module that loads the checkpoint, which holds exactly some weights, says what the first one says."""
    checkpoint = saved(module)
    assert checkpoint["state_dict"].keys() == kept(module, names)
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    assert _same(call(again), call(module))


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


def check_life(build: Callable[[int], TextClassification], moves: Rule, also: Rule = lambda name: False) -> TextClassification:
    """Train, save and load a module.

    Args:
        build: Builds it with fresh weights of a seed.
        moves: The rule of what its tuning method trains.
        also: Further weights that must train.
    """
    module = build(0)
    expected = intended(module, lambda name: moves(name) or also(name))
    before = values(module)
    fit(module)
    assert moved(before, module) == expected
    check_comes_back(module, build(1), expected, lambda found: logits_of(found, texts(9)))
    return module


def merged(module: TextClassification) -> nn.Module:
    """The model with its tuning merged in."""
    module.eval()
    module.replace_backbone(module.tuning.merge(module.backbone))
    return module.model

"""The diagonal of the Fisher information: how much each weight matters to a model's outputs on some examples."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.replay.earlier import earlier_data, earlier_rows
from ftlit.data.rows.subsets import subsample
from ftlit.errors import UserError
from ftlit.tasks import TaskModule
from ftlit.training.stored.canonical import Passes
from ftlit.tuning.base import known_rows


def fisher(task: TaskModule, examples: Iterable[dict[str, Any]], weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the mean over examples of the squared gradient of the loss, in float32, for each weight.

    This is the diagonal of the empirical Fisher information (Kirkpatrick et al., 2017, with the right answers of the examples).

    Args:
        task: The task, which computes without dropout.
        examples: Batches of one example each.
        weights: The weights by name.
    """
    sums = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    count = 0
    with _deterministic(task, weights):
        for batch in examples:
            loss = (task.batch_losses(batch) if task.distillation is None else task.losses(task.logits(batch), batch)).sum()
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for name, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    sums[name] += gradient.float() ** 2
            count += 1
    return {name: total / count for name, total in sums.items()}


@contextmanager
def _deterministic(task: TaskModule, weights: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Without dropout, and with gradients of weights that train later, too; no random number of the run is drawn."""
    modes = [(part, part.training) for part in task.modules()]
    frozen = [weight for weight in weights.values() if not weight.requires_grad]
    task.eval()
    for weight in frozen:
        weight.requires_grad_(True)
    devices = [task.device] if task.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.enable_grad():
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        for part, training in modes:
            part.training = training


def importance(passes: Passes, weights: Mapping[str, nn.Parameter], run: str | None, count: int) -> dict[str, Tensor]:
    """Return how much weights matter to an earlier run: their `fisher` on rows of its train split.

    Args:
        passes: The task and its data.
        weights: The weights by name.
        run: Folder of the earlier run; None for that of `model.init_from`.
        count: Number of rows.

    Raises:
        UserError: There is no such run, its rows do not fit, or the task does not begin with its head.
    """
    source = run or passes.task.init_from
    if source is None:
        raise UserError("model.keep EWC needs an earlier run: set model.init_from to its folder, or model.keep.run")
    outside = {id(weight) for weight in passes.task.model.parameters()} - {id(w) for w in passes.task.backbone.parameters()}
    if not any(id(weight) in outside and known_rows(weight).any() for weight in passes.task.model.parameters()):
        raise UserError(
            f"model.keep EWC measures what matters to {source!r} by its answers, but the head begins anew; set model.init_from "
            "to this run, with the same kind of head and labels in common, or use L2SP"
        )
    key = "model.keep.run" if run else "model.init_from"
    earlier = earlier_data(source, key, passes.task.hparams["trust_remote_code"])
    rows = earlier_rows(earlier, source, passes.data, "train", key)
    chosen = rows.select(subsample(len(rows), min(count, len(rows)), passes.data.seed))
    features = passes.data.encode_split(chosen)
    passes.tell(f"EWC: importance of weights from {len(features)} examples of {source}")
    with passes.trainer.precision_plugin.forward_context():
        return fisher(passes.task, _single(passes, features), weights)


def _single(passes: Passes, features: Any) -> Iterator[dict[str, Any]]:
    """Batches of one example."""
    for i in range(len(features)):
        yield passes.moved(passes.data.collate(features[[i]], MicroBatch([i], 1.0)))

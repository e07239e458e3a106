"""What language models share: logits where they are needed only, token accuracy, perplexity, bits per byte."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection, classification

from ftlit.errors import UserError
from ftlit.heads import TaskHead
from ftlit.losses import CrossEntropy, Loss, perplexity, row_sums
from ftlit.metrics.weighted_mean import WeightedMean
from ftlit.tasks.shared.base import TaskModule
from ftlit.util.batch import IGNORED


@contextmanager
def only_tokens(backbone: nn.Module, chosen: Tensor) -> Iterator[None]:
    """Inside, a backbone gives the vectors of the chosen tokens only, so that a language model's head computes no others.

    Of a vocabulary of tens of thousands the head costs more than many layers. It works on every head that looks at each
    token by itself, as those of transformers do: logits come as ``(1, chosen, vocabulary)``.

    Args:
        backbone: The part of the model that gives ``last_hidden_state``, ``(batch, tokens, width)``.
        chosen: True where a vector is wanted, ``(batch, tokens)``.
    """

    def choose(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = output.last_hidden_state[:, -chosen.shape[1] :]  # a prompt may stand before the tokens
        output.last_hidden_state = hidden[chosen].unsqueeze(0)
        return output

    handle = backbone.register_forward_hook(choose)
    try:
        yield
    finally:
        handle.remove()


class LanguageModel(TaskModule):
    """A model that predicts tokens of a text; each token with a label counts 1 in the loss.

    The head is pretrained like the backbone, tied to its embeddings or not: where a tuning method other than Full and
    TopLayers chooses what trains, only those weights of the head train that the backbone's files lack. From an earlier run of
    the same task `init_from` takes the head as well.
    """

    takes_auxiliary: ClassVar[bool] = False
    pretrained_head: ClassVar[bool] = True
    objective: ClassVar[Literal["causal", "masked"]]
    summary_names: ClassVar[tuple[str, ...]] = ("perplexity",)

    def adopt(self, **config: Any) -> None:
        if not isinstance(self.head, TaskHead):
            raise UserError(f"{type(self).__name__} predicts tokens with the backbone's own head; leave model.head out")
        super().adopt(**config)
        for split in ("val", "test"):
            for name in self._measured():
                self.metrics[f"{split}_{name}"] = WeightedMean()

    @property
    def default_monitor(self) -> str:
        return "val/perplexity"

    def default_loss(self) -> Loss:
        return CrossEntropy()

    def build_metrics(self) -> MetricCollection:
        words = self.model.config.get_text_config().vocab_size
        return MetricCollection({"accuracy": classification.MulticlassAccuracy(words, average="micro", validate_args=False)})

    @abstractmethod
    def targets(self, labels: Tensor) -> Tensor:
        """The token that each position should predict, -100 for none, from a batch's labels; both ``(batch, tokens)``."""

    def forward(self, batch: dict[str, Any]) -> Any:
        if self.objective == "causal":  # with a cache transformers would not see that positions begin again inside a row
            batch = {**batch, "use_cache": False}
        return super().forward(batch)

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """The logits of the positions that have a target, ``(targets, vocabulary)``."""
        with only_tokens(self.backbone, self.targets(batch["labels"]) != IGNORED):
            return self.token_logits(self(batch), batch)

    def token_logits(self, output: Any, batch: dict[str, Any]) -> Tensor:
        """The logits of tokens in what the model gave for them alone, ``(targets, vocabulary)``."""
        return output.logits.squeeze(0)

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.example_sums(self.loss(logits, self.chosen(batch["labels"])), batch)

    def chosen(self, labels: Tensor) -> Tensor:
        """The targets that there are, one after the other, ``(targets,)``."""
        targets = self.targets(labels)
        return targets[targets != IGNORED]

    def example_sums(self, values: Tensor, batch: dict[str, Any]) -> Tensor:
        """Sums over each example ``(batch,)`` of values of its targets ``(targets,)``."""
        return row_sums(values, self.targets(batch["labels"]) != IGNORED)

    def negative_log_likelihoods(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """``-log p`` of each example's targets, summed, ``(batch,)``: the loss without smoothing and the like."""
        values = functional.cross_entropy(logits.float(), self.chosen(batch["labels"]), reduction="none")
        return self.example_sums(values, batch)

    def metric_inputs(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return logits.argmax(-1), self.chosen(labels)

    def is_nll(self) -> bool:
        """Whether the losses are the negative log-likelihoods themselves."""
        return self.loss == CrossEntropy()

    def record(self, split: str, losses: Tensor, logits: Tensor, batch: dict[str, Any]) -> None:
        values = {**batch, "nll": losses if self.is_nll() else self.negative_log_likelihoods(logits, batch)}
        super().record(split, losses, logits, values)
        for name in self._measured():
            if name in values:
                self.metrics[f"{split}_{name}"].update(values[name], batch["loss_weights"])

    def collects(self, split: str) -> bool:
        return False  # the sums suffice

    def summarise(self, split: str, values: dict[str, float]) -> dict[str, float]:
        """Perplexity, and bits per byte of the texts: comparable between tokenizers (Gao et al., 2020, "The Pile")."""
        found = {name: float(self.metrics[f"{split}_{name}"].compute()) for name in self._measured()}
        summary = {"perplexity": perplexity(found["nll"])}
        if "bits_per_byte" in self.summary_names and found.get("bytes"):
            summary["bits_per_byte"] = found["nll"] / found["bytes"] / math.log(2)
        return summary

    def _measured(self) -> list[str]:
        return ["nll", "bytes"] if "bits_per_byte" in self.summary_names else ["nll"]

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """How well each block was predicted: the mean of ``-log p`` over its targets, and their number."""
        sums = batch["nll"] if "nll" in batch else self.negative_log_likelihoods(logits, batch)
        counts = batch["loss_weights"]
        means = (sums / counts.clamp(min=1)).tolist()
        return [{"prediction": mean, "targets": int(count)} for mean, count in zip(means, counts.tolist(), strict=True)]

"""Base class of language models: logits of the tokens with a target only, token accuracy, and perplexity."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection, classification

from ftlit.errors import UserError
from ftlit.heads import TaskHead
from ftlit.losses import CrossEntropy, Loss, of_both, perplexity, row_sums
from ftlit.tasks.shared.base import TaskModule
from ftlit.tasks.shared.evaluator import Evaluator, Outputs
from ftlit.util.batch import IGNORED


@contextmanager
def only_tokens(backbone: nn.Module, chosen: Tensor) -> Iterator[None]:
    """Let a backbone return the vectors of chosen tokens only, so that the head computes no other logits.

    With a vocabulary of tens of thousands of tokens, the head takes more time than many layers. This works with every head that
    processes each token independently, as in transformers. The logits have the shape ``(1, chosen, vocabulary)``.

    Args:
        backbone: The part of the model that returns ``last_hidden_state``, ``(batch, tokens, width)``.
        chosen: True for tokens whose logits are needed, ``(batch, tokens)``.
    """

    def choose(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = output.last_hidden_state[:, -chosen.shape[1] :]  # a learned prompt may precede the tokens
        output.last_hidden_state = hidden[chosen].unsqueeze(0)
        return output

    handle = backbone.register_forward_hook(choose)
    try:
        yield
    finally:
        handle.remove()


class LanguageModel(TaskModule):
    """Base class of language models. Each token with a label has the same weight in the loss.

    The head is pretrained like the backbone, and may be tied to its embeddings. With tuning methods other than Full and
    TopLayers, only weights of the head train that are missing in the backbone's files. `init_from` also copies the head of an
    earlier run of the same task.
    """

    takes_auxiliary: ClassVar[bool] = False
    takes_teacher = True
    pretrained_head: ClassVar[bool] = True
    objective: ClassVar[Literal["causal", "masked"]]
    mean_names: tuple[str, ...] = ("nll",)
    corpus_metric_names: tuple[str, ...] = ("perplexity",)

    def prepare(self) -> None:
        super().prepare()
        if not isinstance(self.head, TaskHead):
            raise UserError(f"{type(self).__name__} predicts tokens with the backbone's own head; leave model.head out")

    @property
    def default_monitor(self) -> str:
        return "val/perplexity"

    def default_loss(self) -> Loss:
        return CrossEntropy()

    @abstractmethod
    def targets(self, labels: Tensor) -> Tensor:
        """Return the token that each position should predict, or -100, from a batch's labels; both ``(batch, tokens)``."""

    def forward(self, batch: dict[str, Any]) -> Any:
        if self.objective == "causal":  # with a cache transformers would not see that positions begin again inside a row
            batch = {**batch, "use_cache": False}
        return super().forward(batch)

    def target_output(self, batch: dict[str, Any]) -> Any:
        """Return the model's output with logits of the tokens with a target only, ``(1, targets, vocabulary)``."""
        with only_tokens(self.backbone, self.targets(batch["labels"]) != IGNORED):
            return self(batch)

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Return the logits of the tokens with a target, ``(targets, vocabulary)``."""
        return self.target_output(batch).logits.squeeze(0)

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.example_sums(self.loss(logits, self.chosen(batch["labels"])), batch)

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        return self.example_sums(self.distillation(*of_both(logits, lessons)), batch)

    def chosen(self, labels: Tensor) -> Tensor:
        """Return the targets without the ignored positions, one row after the other, ``(targets,)``."""
        targets = self.targets(labels)
        return targets[targets != IGNORED]

    def example_sums(self, values: Tensor, batch: dict[str, Any]) -> Tensor:
        """Sum values of the targets ``(targets,)`` over each example, ``(batch,)``."""
        return row_sums(values, self.targets(batch["labels"]) != IGNORED)

    # Evaluation

    def build_metrics(self) -> MetricCollection:
        words = self.model.config.get_text_config().vocab_size
        return MetricCollection({"accuracy": classification.MulticlassAccuracy(words, average="micro", validate_args=False)})

    def evaluate_batch(self, batch: dict[str, Any]) -> Outputs:
        return self.measure(self.logits(batch).float(), batch)

    def measure(self, logits: Tensor, batch: dict[str, Any]) -> Outputs:
        """Return the outputs for logits ``(targets, vocabulary)``; `decode` takes ``-log p`` of each example."""
        targets = self.chosen(batch["labels"])
        values = plain = self.loss(logits, targets)
        if self.loss != CrossEntropy():  # perplexity ignores label smoothing
            plain = functional.cross_entropy(logits.float(), targets, reduction="none")
        means = self.token_means(plain, batch)
        return Outputs(self.example_sums(values, batch), means["nll"][0], logits.argmax(-1), targets, means)

    def token_means(self, values: Tensor, batch: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return sums and numbers of targets of each example, ``(batch,)``, for the means of an evaluation.

        Args:
            values: ``-log p`` of each target, ``(targets,)``.
            batch: The batch.
        """
        return {"nll": (self.example_sums(values, batch), batch["loss_weights"])}

    def needs_predictions(self) -> bool:
        return False  # the sums suffice

    def corpus_metrics(self, evaluation: Evaluator) -> dict[str, float]:
        return {"perplexity": perplexity(evaluation.mean("nll"))}

    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return the mean of ``-log p`` over the targets of each block, and their number.

        Args:
            logits: The sum of ``-log p`` over each example's targets, ``(batch,)``.
            batch: The batch.
        """
        counts = batch["loss_weights"]
        means = (logits / counts.clamp(min=1)).tolist()
        return [{"prediction": mean, "targets": int(count)} for mean, count in zip(means, counts.tolist(), strict=True)]

"""What every task shares beside its evaluation and its tuning: loading, loss and optimizer."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from ftlit.auxiliary import Auxiliary, SelfSupervision
from ftlit.errors import UserError, near
from ftlit.heads import Head, TaskHead
from ftlit.losses import CrossEntropy, Focal, Loss
from ftlit.metrics.direction import lower_is_better
from ftlit.models.backbones import load_model, load_tokenizer
from ftlit.models.embeddings import extend_embeddings
from ftlit.optimization.optimizer import build_optimizer
from ftlit.optimization.parameter_groups import param_groups
from ftlit.optimization.schedule import build_schedule, check_lr_schedule, finite_steps
from ftlit.tasks.shared.init_from import initialise
from ftlit.tasks.shared.train_loss import StepLoss, log_loss
from ftlit.tasks.shared.tuned import Tuned
from ftlit.tuning import Full, Tuning
from ftlit.util.batch import BOOKKEEPING
from ftlit.util.private import replaces_samplers


class TaskModule(Tuned):
    """A task: a backbone with a head, tuned by a method.

    Args:
        backbone: Hub name or folder of the pretrained model, or `package:<module>/<path>`.
        tuning: Which weights of the backbone train.
        head: What stands on the backbone; by default the head that transformers has for the task.
        loss: What training minimises; by default the task's usual loss.
        optimizer: Class path and arguments of the optimizer; it gets the parameter groups.
        schedule: Name of a learning rate schedule of transformers: linear, cosine, cosine_with_restarts, polynomial,
            inverse_sqrt, constant or constant_with_warmup.
        warmup: Share of all optimizer steps over which the learning rate rises.
        layer_decay: Factor of the learning rate from each layer to the one below it; 1 is off.
        head_lr_factor: The head's learning rate as a multiple of the optimizer's.
        lr_factors: Learning rates of further groups as multiples of the optimizer's, by regular expressions that find the
            names of weights, such as `{lora_B: 16}` (LoRA+; Hayou et al., 2024).
        monitor: Metric that picks the best checkpoint and stops early, such as `val/loss`; by default the task's own.
        pad_token_id: Taken from the data.
        trust_remote_code: Whether code that comes with the backbone may run.
        pretrained: Whether to start from the backbone's weights; false takes its architecture alone, to train from scratch.
        dropout: Dropout of the backbone's layers while it trains; by default what its configuration says.
        init_from: Folder of an earlier run or of a Hugging Face model, whose backbone's weights replace those of `backbone`.
        auxiliary: A self-supervised loss beside the task's own: MaskedLMLoss for encoders, CausalLMLoss for decoders.
    """

    auto_class: Any  # the class of transformers that has the task's head
    added_tokens: Sequence[int] = ()  # ids of tokens that the data add to the tokenizer
    takes_auxiliary: ClassVar[bool] = True
    # What studies and `ftlit diff` compute from its predictions: a kind of `ftlit.study.statistics.evidence`, or None.
    evidence: ClassVar[str | None] = None
    # Which losses of `ftlit.losses` fit, and whether their class weights and label smoothing do.
    loss_kinds: ClassVar[tuple[type[Loss], ...]] = (CrossEntropy, Focal)
    weighted: ClassVar[bool] = False
    smoothed: ClassVar[bool] = True

    def __init__(
        self,
        backbone: str,
        tuning: Tuning = Full(),
        head: Head = TaskHead(),
        loss: Loss | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=5e-5, weight_decay=0.01, fused=True),
        schedule: str = "linear",
        warmup: float = 0.06,
        layer_decay: float = 1.0,
        head_lr_factor: float = 1.0,
        lr_factors: dict[str, float] | None = None,
        monitor: str | None = None,
        pad_token_id: int | None = None,
        trust_remote_code: bool = False,
        pretrained: bool = True,
        dropout: float | None = None,
        init_from: str | None = None,
        auxiliary: Auxiliary | None = None,
    ) -> None:
        super().__init__(tuning)
        self.save_hyperparameters(logger=False)
        self.head, self.optimizer = head, optimizer
        self.loss = loss if loss is not None else self.default_loss()
        self._check_loss()
        check_lr_schedule(schedule, warmup)
        self.schedule, self.warmup = schedule, warmup
        self.layer_decay, self.head_lr_factor, self.lr_factors = layer_decay, head_lr_factor, lr_factors
        self.monitor = monitor or self.default_monitor
        self.pad_token_id = pad_token_id
        self.init_from, self.auxiliary = init_from, auxiliary
        self.self_supervision: SelfSupervision | None = None
        self.logs_loss, self._step_loss = True, StepLoss()  # a run's own log switches it off
        self._load: Callable[..., Any] = partial(
            load_model,
            backbone=backbone,
            trust_remote_code=trust_remote_code,
            pretrained=pretrained,
            dropout=dropout,
        )
        if dropout is not None and not 0 <= dropout < 1:
            raise UserError(f"model.dropout should be at least 0 and below 1, got {dropout}")
        if not pretrained and not tuning.trains_everything:
            raise UserError(f"model.pretrained is false: weights that are random must all train; {tuning} would freeze some")

    # What a task defines

    @property
    def default_monitor(self) -> str:
        """The metric that picks the best checkpoint when the config names none."""
        return "val/loss"

    @abstractmethod
    def default_loss(self) -> Loss:
        """The loss of this task when the config names none."""

    def _check_loss(self) -> None:
        """Refuse a loss that does not fit what the task predicts; one from outside the package is taken at its word."""
        task, kind = type(self).__name__, type(self.loss)
        if kind.__module__ == Loss.__module__ and not isinstance(self.loss, self.loss_kinds):
            fitting = " or ".join(known.__name__ for known in self.loss_kinds)
            raise UserError(f"model.loss {kind.__name__} does not fit {task}; use {fitting}")
        if self.loss.class_weights is not None and not self.weighted:
            raise UserError(f"model.loss.class_weights weighs the labels of a list, and {task} has none; leave it out")
        if getattr(self.loss, "label_smoothing", 0) and not self.smoothed:
            raise UserError(f"model.loss.label_smoothing does not fit {task}, whose texts have different numbers of classes")

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """What the head gives for a batch, ``(batch, labels)`` where an example has one answer."""
        return self(batch).logits

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """The loss of each example, ``(batch,)``, summed over its labelled tokens where it has several."""
        return self.loss(logits, batch["labels"])

    def text_counts(self, batch: dict[str, Any]) -> list[int] | None:
        """How many texts each example of a batch has, one below the other in ``input_ids``; None where each has one."""
        return None

    # Building

    def adopt(self, **config: Any) -> None:
        """Build the model with its head, and hand its backbone to the tuning method.

        Args:
            **config: Changes to the backbone's configuration.
        """
        if self.pad_token_id is not None:
            config["pad_token_id"] = self.pad_token_id
        if self.auxiliary and not self.takes_auxiliary:
            raise UserError(
                f"model.auxiliary learns from the texts of a task, which is what {type(self).__name__} does; leave it out"
            )
        self._load = partial(self._load, loading=self.check_tuning(config))
        self.model, fresh = self.build_model(config)
        added = None
        if self.init_from is not None:
            fresh, added = self._initialise(fresh, config)
        if self.added_tokens:
            fresh = [*fresh, self._extend(added)]
        embedding: Any = self.backbone.get_input_embeddings().weight if self.auxiliary else None  # type: ignore[operator]
        self.apply_tuning(fresh)
        if self.auxiliary and self.auxiliary.weight:
            self.self_supervision = self.auxiliary.build(self._load, self.backbone, embedding, self._tokenizer)
        self.remember_weights()
        self.add_metrics()
        known = ["val/loss", *(f"val/{name}" for name in (*self.metrics["val"], *self.summary_names))]
        if self.monitor not in known:
            raise UserError(f"model.monitor {self.monitor!r} is not a metric of this task. {near(self.monitor, known)}")

    def build_model(self, config: dict[str, Any], **loading: Any) -> tuple[Any, list[nn.Parameter]]:
        return self.head.build(partial(self._load, **loading), self.auto_class, config)

    def _initialise(self, fresh: list[nn.Parameter], config: dict[str, Any]) -> tuple[list[nn.Parameter], Tensor | None]:
        """Take weights from `init_from`; give those that are fresh still, and its embeddings of added tokens."""
        load = partial(self._load, pretrained=True)
        return initialise(
            self.model,
            fresh,
            str(self.init_from),
            self.hparams["backbone"],
            lambda folder: self.build_earlier(partial(load, backbone=folder), config),
            type(self) if self.pretrained_head else None,
            self.hparams["trust_remote_code"],
        )

    def build_earlier(self, load: Callable[..., Any], config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        """The model of a folder of Hugging Face, named by `init_from`, and its freshly initialised weights."""
        return self.head.build(load, self.auto_class, config)

    def _extend(self, earlier: Tensor | None) -> nn.Parameter:
        """Embeddings of the added tokens: those of an earlier run where they are as many."""
        extra = extend_embeddings(self.backbone, self.added_tokens)
        if earlier is not None and earlier.shape == extra.shape:
            extra.data.copy_(earlier)
        return extra

    def _tokenizer(self) -> Any:
        return load_tokenizer(self.hparams["backbone"], trust_remote_code=self.hparams["trust_remote_code"])

    @property
    def mode(self) -> str:
        """Whether the monitored metric is better when lower (`min`) or higher (`max`)."""
        return "min" if lower_is_better(self.monitor) else "max"

    # Steps

    def forward(self, batch: dict[str, Any]) -> Any:
        if self.tuning.positions and "position_ids" in batch:
            raise UserError(
                f"model.tuning {type(self.tuning).__name__} puts its tokens before a text once, and a block has several texts; "
                "set data.packing: false, or with raw text data.boundaries: false"
            )
        return self.model(**{key: value for key, value in batch.items() if key not in BOOKKEEPING})

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        loss = self.losses(self.logits(batch), batch).sum() / batch["loss_denominator"]
        if (penalty := self.tuning.penalty(self.backbone)) is not None:
            loss = loss + penalty
        return loss if self.self_supervision is None else self._with_auxiliary(loss, batch)

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        if self.logs_loss:
            log_loss(self, self._step_loss, outputs)

    def on_fit_start(self) -> None:
        if replaces_samplers(self.trainer):
            raise UserError(
                "trainer.use_distributed_sampler must be False: the data module gives every device its own examples, and "
                "Lightning's sampler would replace its batches"
            )

    def _with_auxiliary(self, loss: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The loss to minimise, and its parts for the log."""
        assert self.auxiliary is not None
        assert self.self_supervision is not None
        own = self.auxiliary.loss(self.self_supervision, self.backbone, batch, self.text_counts(batch))
        weight = self.auxiliary.weight_at(self.global_step / self.total_steps)
        parts = {"task_loss": loss, "auxiliary_loss": own, "auxiliary_weight": loss.new_tensor(weight)}
        return {"loss": loss + weight * own, **{name: value.detach() for name, value in parts.items()}}

    # Optimization

    def param_groups(self) -> list[dict[str, Any]]:
        """The trained weights in groups of equal learning rate and weight decay."""
        return param_groups(self, self.backbone, self.layer_decay, self.head_lr_factor, self.lr_factors)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.optimizer, self.param_groups())
        self.total_steps = finite_steps(self.trainer.estimated_stepping_batches)
        self.tuning.begin(self.backbone, self.total_steps)
        if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            epochs = self.trainer.max_epochs
            self.tuning.check_length(self.total_steps, None if epochs in (None, -1) else epochs)
        scheduler = build_schedule(self.schedule, optimizer, self.warmup, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

"""The base class of all tasks: a backbone with a head, its loss, its optimizer and its evaluation."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from ftlit.heads import Head
from ftlit.losses import CrossEntropy, Distillation, Focal, Loss
from ftlit.optimization.auxiliary import Auxiliary, SelfSupervision
from ftlit.optimization.keep import Anchors, Keep
from ftlit.optimization.parameter_groups import param_groups
from ftlit.runs.checkpoint import frozen_digest, trained_keys
from ftlit.tasks.shared import training
from ftlit.tasks.shared.building import ConfiguredAfterInit, build_model
from ftlit.tasks.shared.checkpointing import check_weights, prepare_loading, save_trained
from ftlit.tasks.shared.evaluator import EvaluatedModule, Evaluator, Outputs, monitor_mode, of_validation
from ftlit.tasks.shared.pretrained_head import set_default_head
from ftlit.tasks.shared.stages import Stages
from ftlit.tasks.shared.teacher import LessonUnit, Teacher, distilled_losses, open_teacher
from ftlit.tuning import Full, Tuning
from ftlit.util.hub import pinned


class TaskModule(EvaluatedModule, LightningModule, metaclass=ConfiguredAfterInit):
    """Base class of tasks: a backbone with a head, trained by a tuning method.

    Args:
        backbone: Hub name or folder of the pretrained model, or `package:<module>/<path>`.
        revision: Branch, tag or commit of a backbone on the hub.
        tuning: Which weights of the backbone train.
        head: The prediction head; by default that of transformers for the task, or PooledHead where Frozen keeps a pooler.
        loss: The training loss; by default the usual loss of the task. Distillation learns from `teacher` too.
        teacher: Folder of an earlier run or of an export, whose outputs the loss Distillation compares with.
        optimizer: Class path and arguments of the optimizer, without the parameters.
        schedule: Learning rate: linear, cosine, cosine_with_restarts, polynomial, inverse_sqrt, constant, constant_with_warmup.
        warmup_ratio: Fraction of all optimizer steps in which the learning rate rises.
        layer_decay: Factor between the learning rates of a layer and of the layer above it. 1 disables this.
        head_lr_factor: Factor between the learning rates of the head and of the optimizer.
        lr_factors: Factors of learning rates by regular expressions for names: `{lora_B: 16}` (LoRA+; Hayou et al., 2024).
        monitor: Metric that decides the best checkpoint and early stopping, such as `val/loss` or `loss`; by default its own.
        pad_token_id: Taken from the data.
        trust_remote_code: Whether to run code that comes with the backbone.
        pretrained: Whether to load the backbone's weights. False uses only its architecture, to train from scratch.
        dropout: Dropout probability of the backbone's layers in training; by default that of its configuration.
        init_from: Folder of an earlier run or of a Hugging Face model whose backbone weights replace those of `backbone`.
        keep_layers: Layers of the backbone with which a smaller model begins, such as `[0, 2, 4]`; by default all.
        auxiliary: A self-supervised loss in addition to the task's: MaskedLMLoss for encoders, CausalLMLoss for decoders.
        gradient_checkpointing: Whether layers are computed again in the backward pass, which takes less memory and more time.
        trunk_cache: Whether hidden states of frozen layers are stored and read again; `auto`: where needed more than once.
        teacher_cache: Whether the teacher's outputs are stored and read again; false keeps them in memory, for this run alone.
        keep: A penalty on the distance from the weights that training begins with, against forgetting: L2SP or EWC.
    """

    auto_class: Any  # the class of transformers with the task's head
    model: Any
    added_tokens: Sequence[int] = ()  # ids of tokens that the data add to the tokenizer
    constant_prediction: Any = None  # the answer of a baseline that reads no example, as learned from the labels of train
    pretrained_head: ClassVar[bool] = False  # whether the head is that of a pretrained language model
    takes_auxiliary: ClassVar[bool] = True
    takes_teacher: bool = False  # whether `taught_losses` is defined
    lesson_unit: LessonUnit | None = None  # what each row of `lessons` is about; None if they are too large to be stored
    teaches_texts: ClassVar[bool] = False  # whether it needs no labels, so that texts without labels can be taught too
    evidence: ClassVar[str | None] = None  # a kind of `ftlit.metrics.evidence`, for the statistics of its predictions
    loss_kinds: tuple[type[Loss], ...] = (CrossEntropy, Focal)  # the losses of `ftlit.losses` that fit the task
    weighted: ClassVar[bool] = False  # whether their class weights fit
    smoothed: ClassVar[bool] = True  # whether their label smoothing fits
    mean_names: tuple[str, ...] = ()  # of means over examples, besides the loss, that `evaluate_batch` returns
    corpus_metric_names: tuple[str, ...] = ()  # of the metrics that `corpus_metrics` returns
    higher_is_better: ClassVar[Mapping[str, bool]] = {}  # by the name of a metric, if its class does not say it
    anchors: Anchors | None = None  # what `keep` holds the weights near, once training begins

    def __init__(
        self,
        backbone: str,
        tuning: Tuning = Full(),
        head: Head | None = None,
        loss: Loss | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=5e-5, weight_decay=0.01, fused=True),
        schedule: str = "linear",
        warmup_ratio: float = 0.06,
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
        gradient_checkpointing: bool = False,
        revision: str | None = None,
        trunk_cache: Literal["auto"] | bool = "auto",
        teacher: str | None = None,
        keep_layers: list[int] | None = None,
        teacher_cache: Literal["auto"] | bool = "auto",
        keep: Keep | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.hparams["backbone"] = pinned(backbone, revision)
        self.tuning, self.optimizer = tuning, optimizer
        self.head: Any = head  # None until `prepare` sets the task's defaults, like the next two
        self.loss: Any = loss.task_loss if isinstance(loss, Distillation) else loss  # on the labels
        self.monitor: Any = monitor
        self.schedule, self.warmup_ratio, self.pad_token_id = schedule, warmup_ratio, pad_token_id
        self.layer_decay, self.head_lr_factor, self.lr_factors = layer_decay, head_lr_factor, lr_factors
        self.pretrained, self.dropout, self.init_from, self.auxiliary = pretrained, dropout, init_from, auxiliary
        self.self_supervision: SelfSupervision | None = None
        self.keep_layers, self.keep = keep_layers, keep
        self.distillation: Any = loss if isinstance(loss, Distillation) else None
        self.total_steps, self.notes = 0, list[str]()  # known once the optimizer is built; printed when a run starts
        self.keep_predictions, self.lightning_logs = False, True  # `LossLog` of a run logs by itself
        self.stages, self._step_loss = Stages(), training.StepLoss()

    # What a task defines

    @property
    def default_monitor(self) -> str:
        """The metric that decides the best checkpoint if the config does not name one."""
        return "val/loss"

    @abstractmethod
    def default_loss(self) -> Loss:
        """Return the loss of this task if the config does not name one."""

    def model_config(self) -> dict[str, Any]:
        """Return changes to the configuration of the backbone, such as ``num_labels``."""
        return {}

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Return the logits of a batch, ``(batch, labels)`` if an example has one answer."""
        return self(batch).logits

    def losses(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the loss of each example, ``(batch,)``, summed over its labelled tokens if it has several."""
        return self.loss(logits, batch["labels"])

    def batch_losses(self, batch: dict[str, Any]) -> Tensor:
        """Return the loss of each example of a training batch, ``(batch,)``."""
        logits = self.logits(batch)
        return self.losses(logits, batch) if self.distillation is None else distilled_losses(self, logits, batch)

    def lessons(self, batch: dict[str, Any]) -> Tensor:
        """Return what a student learns from this task for a batch, by default the logits: a row for each `lesson_unit`."""
        return self.logits(batch)

    def taught_losses(self, logits: Tensor, lessons: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the loss of each example to the teacher's `lessons`, ``(batch,)``, like `losses` to its labels."""
        raise NotImplementedError

    @cached_property
    def teacher(self) -> Teacher:
        """The task whose outputs this one learns, which is opened when it is needed."""
        return open_teacher(self)

    def text_counts(self, batch: dict[str, Any]) -> list[int] | None:
        """Return how many rows of ``input_ids`` each example of a batch has, or None if each has one."""
        return None

    def build_earlier(self, load: Callable[..., Any], config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        """Build the model of the Hugging Face folder that `init_from` names; return it and its newly initialized weights."""
        return self.head.build(load, self.auto_class, config)

    # What a task defines for its evaluation

    def build_metrics(self) -> MetricCollection:
        """Build the metrics of one split that add up over batches."""
        return MetricCollection({})

    def build_confusion(self) -> Metric | None:
        """Build the confusion matrix of one split, or None."""
        return None

    def evaluate_batch(self, batch: dict[str, Any]) -> Outputs:
        """Return the losses of a batch with labels, and the inputs of the metrics and of `decode`."""
        logits = self.logits(batch).float()
        return Outputs(self.losses(logits, batch), logits, predicted=logits, targets=batch["labels"])

    @abstractmethod
    def decode(self, logits: Tensor, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return a dictionary with the key `prediction` for each example, or None to leave it out."""

    def predict_batch(self, batch: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return the predictions for a batch without labels."""
        return self.decode(self.logits(batch).float(), batch)

    def prediction_types(self) -> dict[str, Any]:
        """Return types of the columns of a prediction: one of Python, a list of one, or a dictionary of those of its values."""
        return {"prediction": str}

    def merge_windows(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge the predictions of a row's features, in their order, into the prediction of the row."""
        return parts[0]

    def merge_references(self, parts: list[Any]) -> Any:
        """Merge the `reference` of a row's features into the reference of the row."""
        return parts[0]

    def needs_predictions(self) -> bool:
        """Whether the metrics of this evaluation need the predictions of all examples."""
        return bool(self.corpus_metric_names)

    def generate_predictions(self, parts: list[dict[str, Any]]) -> None:
        """Complete the predictions of this rank at the end of an evaluation, for tasks that generate text."""

    def evaluation_details(self, evaluation: Evaluator) -> dict[str, Any]:
        """Return results that are not single numbers, such as a table of labels: see `ftlit.commands.report`."""
        return {}

    def corpus_metrics(self, evaluation: Evaluator) -> dict[str, float]:
        """Compute the metrics that need all predictions, gathered from all ranks."""
        return {}

    def configure_model(self) -> None:
        """Build the model; further calls by Lightning have no effect."""
        if "model" not in self._modules:
            self.prepare()
            self.build()

    def prepare(self) -> None:
        """Complete and check the settings before the model is loaded."""
        set_default_head(self)
        self.loss = self.default_loss() if self.loss is None else self.loss
        self.monitor = of_validation(self.monitor or self.default_monitor)
        training.check_settings(self)

    def build(self) -> None:
        """Build the model and the metrics."""
        build_model(self)
        self.frozen_digest = frozen_digest(self, self.tuning.modifies_base_weights)
        self.initial_trained_keys = trained_keys(self)  # every checkpoint must contain these
        self.evaluators: Any = nn.ModuleDict({split: Evaluator(split, self) for split in ("val", "test")})
        monitor_mode(self)  # raises if the monitored metric is unknown

    @property
    def backbone(self) -> nn.Module:
        """The tuned backbone inside the model, or the model itself if it is not wrapped by a head, such as T5."""
        return getattr(self.model, self.model.base_model_prefix, self.model)

    def replace_backbone(self, backbone: nn.Module) -> None:
        """Replace the backbone inside the model."""
        prefix = self.model.base_model_prefix
        owner, name = (self.model, prefix) if hasattr(self.model, prefix) else (self, "model")
        setattr(owner, name, backbone)

    # Training

    def forward(self, batch: dict[str, Any]) -> Any:
        return training.forward(self, batch)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        return training.training_loss(self, batch)

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        training.log_loss(self, self._step_loss, outputs)

    def on_fit_start(self) -> None:
        training.check_trainer(self.trainer)

    def param_groups(self) -> list[dict[str, Any]]:
        """Return the trained weights in groups of equal learning rate and weight decay."""
        return param_groups(self, self.backbone, self.layer_decay, self.head_lr_factor, self.lr_factors)

    def configure_optimizers(self) -> Any:
        return training.optimizer_and_schedule(self)

    def setup(self, stage: str) -> None:
        self.stages.enter(self, self.stages.current)  # again, since the number of devices is known now

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.stages.follow(self)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.stages.drop_gradients()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        self.tuning.after_step(self.backbone, step)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        save_trained(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        prepare_loading(self, checkpoint)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        check_weights(self, state_dict)
        return super().load_state_dict(state_dict, strict=False, assign=assign)

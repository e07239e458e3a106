"""Private members of other libraries, each behind a function of its own, so that an upgrade breaks in one place.

Three uses cannot be moved here, because they are subclasses: `ftlit.commands.cli` overrides `_dump_config` and
`_parse_ckpt_path` of LightningCLI, `ftlit.study.running.check` overrides `_run_subcommand`, and `ftlit.training.flops` derives
from PyTorch's TorchDispatchMode.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from lightning import Trainer
    from torch.optim import Optimizer

# Lightning


def is_accumulating(trainer: "Trainer") -> bool:
    """Whether the optimizer waits for more batches before its next step."""
    return trainer.fit_loop._should_accumulate()


def validation_is_due(trainer: "Trainer") -> bool:
    """Whether a validation follows the present training batch."""
    loop: Any = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def restore_loaders(trainer: "Trainer") -> None:
    """Give the training loaders the state of the checkpoint, if it has not reached them."""
    trainer.fit_loop._load_combined_loader_states()


def validation_seconds(trainer: Any) -> float | None:
    """Seconds from one validation to the next, None unless validations go by the clock."""
    return trainer._val_check_time_interval


def validate_after_batches(trainer: Any, batches: int) -> None:
    """Validate after so many training batches and at no other time."""
    trainer.check_val_every_n_epoch, trainer._val_check_time_interval = None, None
    trainer.val_check_batch = batches


def replaces_samplers(trainer: "Trainer") -> bool:
    """Whether Lightning would put a DistributedSampler into every loader."""
    connector = trainer._accelerator_connector
    return bool(connector.use_distributed_sampler and connector.is_distributed)


def subcommand_parser(cli: Any) -> Any:
    """The parser of the command that a LightningCLI runs."""
    return cli._parser(cli.subcommand)


# jsonargparse


def import_path(kind: type) -> str:
    """The shortest path from which a class can be imported, as configs have it."""
    from jsonargparse._util import get_import_path

    return str(get_import_path(kind))


def option_names(parser: Any) -> list[str]:
    """The names of all options of a parser, with dots."""
    return sorted({action.dest for action in parser._actions if action.dest})


# PyTorch


def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products in bfloat16; without them they are many times slower."""
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def clip_before_step(optimizer: "Optimizer") -> None:
    """Let Lightning unscale and clip gradients although the optimizer is fused and could unscale them itself."""
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def attention_of_cpus() -> tuple[Any, Any]:
    """The operators of attention on CPUs, forward and backward, of which PyTorch's table of FLOPs lacks the formulas."""
    import torch

    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return forward, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def operator_of(function: Any) -> Any:
    """The operator of which a dispatched function is one overload, None if it is no operator."""
    return getattr(function, "_overloadpacket", None)


# Others


def rows_hash(rows: "Dataset") -> str:
    """The hash by which `datasets` knows the content of a data set."""
    return rows._fingerprint


def keep_generation_settings(config: Any) -> None:
    """Let transformers save these settings as they are, not make them again from the model's config."""
    config._from_model_config = False


def trial_id(trial: Any) -> int:
    """The number of an optuna trial in its storage."""
    return trial._trial_id


def slurm_parameters(executor: Any) -> list[str]:
    """The parameters that submitit's executor knows."""
    from submitit import SlurmExecutor

    return [*executor._valid_parameters(), *(f"slurm_{name}" for name in SlurmExecutor._valid_parameters())]


def corpus_statistics(metric: Any, texts: list[str], references: Any) -> list[list[int | float]]:
    """The statistics of each text that a sacrebleu metric adds up."""
    return metric._extract_corpus_statistics(texts, references)


def score_of_statistics(metric: Any, statistics: "np.ndarray") -> float:
    """The score that sacrebleu computes from sums of such statistics."""
    return metric._compute_score_from_stats(statistics.tolist()).score

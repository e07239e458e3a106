"""Private members of other libraries, each wrapped in a function, so that an upgrade breaks code in one place only.

Three uses cannot be moved here, because they are subclasses: `ftlit.commands.cli` overrides `_dump_config` and
`_parse_ckpt_path` of LightningCLI, `ftlit.study.running.check` overrides `_run_subcommand`, and `ftlit.training.flops` derives
from PyTorch's TorchDispatchMode.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from ftlit.util.machine import processor_facts

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from lightning import Trainer
    from torch import Tensor
    from torch.optim import Optimizer

ZEN_5 = 26  # the number of its family

# Lightning


def is_accumulating(trainer: "Trainer") -> bool:
    """Whether the trainer is still accumulating gradients before the next optimizer step."""
    return trainer.fit_loop._should_accumulate()


def validation_is_due(trainer: "Trainer") -> bool:
    """Whether a validation follows the current training batch."""
    loop: Any = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def training_ends(trainer: Any) -> bool:
    """Whether training ends with the current batch."""
    fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    if loop.global_step >= loop.max_steps >= 0 or (trainer.should_stop and fit._can_stop_early):
        return True
    last_epoch = -1 < (fit.max_epochs or 0) <= fit.epoch_progress.current.processed + 1
    return last_epoch and loop._num_ready_batches_reached()


def validate_at_the_end(trainer: Any, validated: Callable[[], bool]) -> None:
    """Let a validation follow the last training batch, whatever ends training.

    Args:
        trainer: The trainer.
        validated: Whether training continues from a checkpoint that was written in a validation, which was then due.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    due = type(loop)._should_check_val_fx

    def due_or_last(fetcher: Any) -> bool:
        ends = training_ends(trainer) or (loop.restarting and validated())
        return due(loop, fetcher) or (trainer.enable_validation and ends)

    loop._should_check_val_fx = due_or_last


def rewind_validation(checkpoint: dict[str, Any]) -> None:
    """Change a checkpoint that is written in a validation, so that training continues with the validation from its start."""
    begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress = {"total": begun, "current": dict(begun), "is_last_batch": False}
    checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"].update(progress)


def forget_rewound_batches(trainer: Any) -> None:
    """Count no batch as begun when a validation begins.

    Otherwise, the batch that `rewind_validation` notes would be counted for the rest of the epoch, and a checkpoint of a later
    validation would seem to have been written in the middle of it.
    """
    trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()


def agree_before_batches(trainer: Any, agree: Callable[[], None]) -> None:
    """Call a function on all ranks before each training batch, in place of Lightning's broadcast of a received SIGTERM."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = agree


def leave_signals_alone(trainer: Any) -> None:
    """Keep Lightning from handling SIGTERM, for which it would communicate with other ranks in the middle of a batch."""
    trainer._signal_connector._sigterm_notifier_fn = lambda number, frame: None


def continue_wandb_run(logger: Any, run_id: str) -> None:
    """Let a WandbLogger continue a run instead of opening another one, unless its config names a run."""
    if logger._id is None:
        logger._id = logger._wandb_init["id"] = run_id


def restore_loaders(trainer: "Trainer") -> None:
    """Pass the state of the checkpoint to the training loaders, if that has not been done yet."""
    trainer.fit_loop._load_combined_loader_states()


def validation_seconds(trainer: Any) -> float | None:
    """Seconds from one validation to the next; None unless the interval is given as a time."""
    return trainer._val_check_time_interval


def validate_after_batches(trainer: Any, batches: int) -> None:
    """Validate after this number of training batches and at no other time."""
    trainer.check_val_every_n_epoch, trainer._val_check_time_interval = None, None
    trainer.val_check_batch = batches


def replaces_samplers(trainer: "Trainer") -> bool:
    """Whether Lightning would replace the samplers of all loaders by a DistributedSampler."""
    connector = trainer._accelerator_connector
    return bool(connector.use_distributed_sampler and connector.is_distributed)


def starts_processes(trainer: Any) -> bool:
    """Whether the trainer trains in processes that it forks or spawns, whose objects are copies of those in this process."""
    from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher

    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


def subcommand_parser(cli: Any) -> Any:
    """The parser of the subcommand that a LightningCLI runs."""
    return cli._parser(cli.subcommand)


# jsonargparse

_import_check: ContextVar[Callable[..., None] | None] = ContextVar("import_check", default=None)


@contextmanager
def checked_imports(check: Callable[..., None]) -> Iterator[None]:
    """Inside, call `check` with each import path of a config before it is imported, and with the imported object after."""
    _check_imports()
    token = _import_check.set(check)
    try:
        yield
    finally:
        _import_check.reset(token)


def _check_imports() -> None:
    import jsonargparse  # noqa: F401
    from jsonargparse import _util

    original: Any = _util.import_object
    if hasattr(original, "unchecked"):
        return

    def import_object(name: Any, *args: Any, **kwargs: Any) -> Any:
        check = None if False in (*args, *kwargs.values()) else _import_check.get()  # False: the path is not of a config
        if check is None or not isinstance(name, str) or "." not in name:
            return original(name, *args, **kwargs)
        check(name)
        found = original(name, *args, **kwargs)
        check(name, found)
        return found

    import_object.unchecked = original  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):
        if name.startswith("jsonargparse") and getattr(module, "import_object", None) is original:
            module.import_object = import_object  # type: ignore[attr-defined]


def import_path(kind: type) -> str:
    """The shortest path from which a class can be imported, as used in configs."""
    from jsonargparse._util import get_import_path

    return str(get_import_path(kind))


def option_names(parser: Any) -> list[str]:
    """The names of all options of a parser, with dots."""
    return sorted({action.dest for action in parser._actions if action.dest})


# PyTorch


def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16 products, which are many times slower without them."""
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def cpu_multiplies_bfloat16_tiles() -> bool:
    """Whether this processor multiplies tiles of bfloat16 numbers (AMX)."""
    import torch

    return torch.cpu._is_amx_tile_supported()


@cache
def onednn_outruns_mkl() -> bool:
    """Whether oneDNN multiplies float32 numbers twice as fast as MKL: on AMD's Zen 5, which computes with 512 bits at once.

    Zen 4 has the instructions (AVX-512), too, but takes two steps for each, so that MKL is as fast.
    """
    import torch

    both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available() and linear_by_onednn() is not None
    facts = processor_facts()
    wide = facts.get("vendor_id") == "AuthenticAMD" and int(facts.get("cpu family", "0")) >= ZEN_5
    return both and wide and torch.backends.cpu.get_cpu_capability() == "AVX512"


def multiply_by_onednn(inputs: "Tensor", weight: "Tensor", bias: "Tensor | None") -> "Tensor":
    """``inputs @ weight.T + bias`` in float32 on a CPU, without gradients."""
    import torch

    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")  # type: ignore[no-any-return]


def linear_by_onednn() -> Any:
    """The operator of `multiply_by_onednn`, which PyTorch's table of FLOP formulas lacks; None if PyTorch itself lacks it."""
    import torch

    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def clip_before_step(optimizer: "Optimizer") -> None:
    """Let Lightning unscale and clip gradients even if the optimizer is fused and could unscale them itself."""
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def attention_of_cpus() -> tuple[Any, Any]:
    """The forward and backward operators of attention on CPUs, which are missing in PyTorch's table of FLOP formulas."""
    import torch

    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return forward, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def operator_of(function: Any) -> Any:
    """The operator that a dispatched function is an overload of; None if it is not an operator."""
    return getattr(function, "_overloadpacket", None)


def forget_guards(program: Any) -> None:
    """Remove the checks of inputs from a program of torch.export, which would be saved as source code."""
    program._guards_code = []


# transformers


def attention_name(model: Any) -> str | None:
    """The implementation of attention that a model uses, if it can be replaced by one of transformers' interface."""
    return model.config._attn_implementation if model._can_set_attn_implementation() else None


# Others


def rows_hash(rows: "Dataset") -> str:
    """The hash by which `datasets` identifies the content of a data set."""
    return rows._fingerprint


def keep_generation_settings(config: Any) -> None:
    """Let transformers save these settings unchanged instead of deriving them from the model's config."""
    config._from_model_config = False


def trial_id(trial: Any) -> int:
    """The id of an Optuna trial in its storage."""
    return trial._trial_id


def slurm_parameters(executor: Any) -> list[str]:
    """The names of the parameters that submitit's executor accepts."""
    from submitit import SlurmExecutor

    return [*executor._valid_parameters(), *(f"slurm_{name}" for name in SlurmExecutor._valid_parameters())]


def corpus_statistics(metric: Any, texts: list[str], references: Any) -> list[list[int | float]]:
    """The statistics that a sacrebleu metric sums over texts, for each text."""
    return metric._extract_corpus_statistics(texts, references)


def score_of_statistics(metric: Any, statistics: "np.ndarray") -> float:
    """The score that sacrebleu computes from the summed statistics."""
    return metric._compute_score_from_stats(statistics.tolist()).score

"""Every private member of another library that ftlit uses does what it is used for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from torch.utils.data import DataLoader
from transformers import AutoModel

import ftlit
from ftlit.util import private
from tests.support.command_line import arguments

BARE: dict[str, Any] = {
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    "accelerator": "cpu", "devices": 1,
}  # fmt: skip


class Line(LightningModule):
    """One weight, trained on eight batches an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return (self.weight * batch).sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Seen(Callback):
    """What the functions say after each training batch, and when validations came."""

    def __init__(self, ask: Callable[[Trainer], Any]) -> None:
        self.ask, self.found, self.validations = ask, list[Any](), list[int]()

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self.found.append(self.ask(trainer))

    def on_validation_end(self, trainer: Trainer, *args: Any) -> None:
        self.validations.append(trainer.fit_loop.total_batch_idx + 1)


def fitted(ask: Callable[[Trainer], Any], **options: Any) -> Seen:
    seen, loader = Seen(ask), DataLoader(torch.ones(8, 1))
    trainer = Trainer(**BARE, max_epochs=1, num_sanity_val_steps=0, callbacks=[seen], **options)
    trainer.fit(Line(), loader, loader)
    return seen


# Lightning


def test_accumulation() -> None:
    assert fitted(private.is_accumulating, accumulate_grad_batches=3).found == [True, True, False] * 2 + [True, False]


def test_the_validation_that_follows_a_batch() -> None:
    seen = fitted(private.validation_is_due, val_check_interval=4)
    assert [i + 1 for i, due in enumerate(seen.found) if due] == seen.validations == [4, 8]


def test_the_state_of_the_loaders() -> None:
    """Nothing happens where no checkpoint was loaded; the tests of resume show that it is restored."""
    assert fitted(private.restore_loaders).found == [None] * 8


def test_validations_by_the_clock() -> None:
    given = {**BARE, "max_epochs": 1}
    assert private.validation_seconds(Trainer(**given)) is None
    assert private.validation_seconds(Trainer(**given, val_check_interval="00:00:01:30", check_val_every_n_epoch=None)) == 90


def test_a_validation_after_a_number_of_batches() -> None:
    class Sets(Callback):
        def on_train_start(self, trainer: Trainer, *args: Any) -> None:
            private.validate_after_batches(trainer, 5)

    seen, loader = Seen(lambda trainer: None), DataLoader(torch.ones(8, 1))
    trainer = Trainer(**BARE, max_epochs=1, num_sanity_val_steps=0, callbacks=[Sets(), seen])
    trainer.fit(Line(), loader, loader)
    assert seen.validations == [5]


def test_samplers_that_lightning_replaces() -> None:
    assert not private.replaces_samplers(Trainer(**BARE))  # one device
    several = {**BARE, "devices": 2, "strategy": "ddp"}
    assert private.replaces_samplers(Trainer(**several))
    assert not private.replaces_samplers(Trainer(**several, use_distributed_sampler=False))


# jsonargparse


def test_the_parser_of_the_command(tiny: Any, sentiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftlit.commands.cli import TaskCLI

    monkeypatch.setattr("sys.argv", ["ftlit"])
    monkeypatch.setattr(TaskCLI, "_run_subcommand", lambda self, subcommand: None)
    given = {"run_dir": tmp_path, "model__backbone": tiny("bert"), "data__dataset": sentiment}
    cli = TaskCLI(arguments("fit", "TextClassification", "TextClassificationData", **given))
    assert "model" in private.option_names(private.subcommand_parser(cli))


def test_import_paths() -> None:
    assert private.import_path(torch.optim.AdamW) == "torch.optim.AdamW"
    assert private.import_path(ftlit.LoRA) == "ftlit.LoRA"


def test_option_names() -> None:
    parser = LightningArgumentParser()
    parser.add_argument("--some.option", type=int)
    assert "some.option" in private.option_names(parser)


# PyTorch


def test_products_in_bfloat16() -> None:
    assert private.cpu_multiplies_bfloat16() in (True, False)
    flags = Path("/proc/cpuinfo")
    if flags.is_file() and "flags" in (text := flags.read_text()):
        assert private.cpu_multiplies_bfloat16() == ("avx512_bf16" in text or "amx_tile" in text)


def test_tiles_of_bfloat16() -> None:
    flags = Path("/proc/cpuinfo")
    if flags.is_file() and "flags" in (text := flags.read_text()):
        assert private.cpu_multiplies_bfloat16_tiles() == ("amx_tile" in text)


def test_the_attention_of_a_model(tiny: Any) -> None:
    model = AutoModel.from_pretrained(tiny("bert"))
    assert private.attention_name(model) == "sdpa"
    model.set_attn_implementation("eager")
    assert private.attention_name(model) == "eager"


def test_a_fused_optimizer_is_clipped() -> None:
    """Lightning refuses to clip for optimizers that unscale gradients themselves."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], fused=True)
    assert optimizer._step_supports_amp_scaling  # type: ignore[attr-defined]
    private.clip_before_step(optimizer)
    assert not optimizer._step_supports_amp_scaling  # type: ignore[attr-defined]


def test_the_attention_of_cpus_is_dispatched_under_its_name() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Records(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(private.operator_of(func))
            return func(*args, **(kwargs or {}))

    query = torch.ones(1, 1, 4, 8, requires_grad=True)
    with Records():
        torch.nn.functional.scaled_dot_product_attention(query, query, query).sum().backward()
    forward, backward = private.attention_of_cpus()
    assert forward in seen
    assert backward in seen
    assert private.operator_of(len) is None


# Others


def test_the_hash_of_rows() -> None:
    from datasets import Dataset

    one, other = (Dataset.from_dict({"a": [value]}) for value in (1, 2))
    assert private.rows_hash(one) != private.rows_hash(other)
    assert private.rows_hash(one) == private.rows_hash(Dataset.from_dict({"a": [1]}))


def test_settings_of_generation_are_saved_as_they_are(tmp_path: Path) -> None:
    from transformers import BertConfig, GenerationConfig

    config = GenerationConfig.from_model_config(BertConfig())
    assert config._from_model_config
    private.keep_generation_settings(config)
    assert not config._from_model_config


def test_the_number_of_a_trial() -> None:
    import optuna

    study = optuna.create_study()
    study.tell(study.ask(), 1.0)
    stored = study.get_trials()[0]
    assert optuna.Trial(study, private.trial_id(stored)).number == stored.number


def test_the_parameters_of_slurm() -> None:
    import submitit

    known = private.slurm_parameters(submitit.AutoExecutor(folder="unused", cluster="local"))
    assert {"timeout_min", "cpus_per_task", "slurm_partition"} <= set(known)


def test_the_statistics_of_sacrebleu() -> None:
    from sacrebleu.metrics import BLEU

    metric, texts, references = BLEU(), ["a b c d e", "a b x d e"], [["a b c d e", "a b c d e"]]
    rows = private.corpus_statistics(metric, texts, references)
    total = private.score_of_statistics(metric, np.array(rows, dtype=float).sum(0))
    assert total == pytest.approx(metric.corpus_score(texts, references).score)

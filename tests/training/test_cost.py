"""What a run says of its cost: operations by hand calculation, totals over interruptions, training as if nobody counted."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from lightning.pytorch.loggers import Logger, WandbLogger
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ftlit.__main__ import main
from ftlit.runs.checkpoint import step_of
from ftlit.runs.files import BEST, LAST
from ftlit.runs.loggers import send_efficiency
from ftlit.runs.metrics_file import MetricsFile
from ftlit.training import flops
from ftlit.training.cost import _known, cost_text, padded_tokens
from ftlit.training.flops import FlopCounter, Flops, compute_dtype, measured_peak
from tests.support.command_line import arguments, ftlit
from tests.support.resuming import keep_snapshots
from tests.support.small import classifier, ragged_batch

Tiny = Callable[[str], str]
WIDTH, MIDDLE, LABELS, TOKENS, R = 8, 16, 4, 30, 2


class Tower(nn.Module):
    """An embedding and three linear layers of 128, 128 and 32 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, MIDDLE, bias=False), nn.Linear(MIDDLE, WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, LABELS, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.down(torch.tanh(self.up(self.table(ids)))))


def counted(module: nn.Module, batches: int = 5, found: Flops | None = None) -> Flops:
    """The operations of a few batches of 30 tokens."""
    found = found or Flops()
    for _ in range(batches):
        found.before_forward(module)
        loss = module(torch.arange(TOKENS) % 10).sum()
        found.before_backward(TOKENS)
        loss.backward()
        found.after_backward(TOKENS)
    return found


LAYERS, HEAD = 2 * WIDTH * MIDDLE, WIDTH * LABELS  # weights
LORA = R * (WIDTH + MIDDLE)  # of each layer


def test_operations_of_full_tuning_by_hand() -> None:
    forward, backward = counted(Tower()).total()
    assert forward == 5 * TOKENS * 2 * (LAYERS + HEAD)
    assert backward == 2 * forward  # each product has two gradients of its own size


def test_a_frozen_backbone_has_no_backward_pass() -> None:
    module = Tower()
    for part in (module.table, module.up, module.down):
        part.requires_grad_(False)
    forward, backward = counted(module).total()
    assert forward == 5 * TOKENS * 2 * (LAYERS + HEAD)
    assert backward == 5 * TOKENS * 2 * HEAD  # the gradient of its weights alone


def test_operations_of_lora_by_hand() -> None:
    tuned = get_peft_model(Tower(), LoraConfig(r=R, target_modules=["up", "down"]))  # type: ignore[arg-type]
    tuned.base_model.model.head.requires_grad_(True)
    forward, backward = counted(tuned).total()
    assert forward == 5 * TOKENS * 2 * (LAYERS + 2 * LORA + HEAD)
    through = LAYERS // 2 + HEAD + LORA + R * MIDDLE  # gradients of inputs, but none below the first layer's A
    weights = 2 * LORA + HEAD
    assert backward == 5 * TOKENS * 2 * (through + weights)
    assert counted(Tower()).total()[1] > backward > 2 * TOKENS * 5 * 2 * HEAD


def test_the_backward_pass_is_counted_anew_when_other_weights_train() -> None:
    module = Tower()
    module.requires_grad_(False)
    module.head.requires_grad_(True)
    found = counted(module, 4)
    module.requires_grad_(True)
    found = counted(module, 7, found)
    forward, backward = found.total()
    assert forward == 11 * TOKENS * 2 * (LAYERS + HEAD)
    assert backward == 4 * TOKENS * 2 * HEAD + 7 * TOKENS * 4 * (LAYERS + HEAD)


def test_counts_go_on_from_their_state() -> None:
    module, again = Tower(), Flops()
    first = counted(module, 2)
    again.load(json.loads(json.dumps(first.state())))
    module.table.requires_grad_(False)
    assert counted(module, 6, again).total() == counted(module, 6, first).total()


def test_nothing_is_counted_after_the_first_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Tower()
    found = counted(module, flops.BATCHES)
    monkeypatch.setattr(flops, "FlopCounter", None)
    assert counted(module, 2, found).total()[0] == 5 * TOKENS * 2 * (LAYERS + HEAD)


def gradients(module: Any, batch: dict[str, Any], counters: tuple[Any, Any] | None = None) -> list[Tensor | None]:
    """Gradients of one step with seeded dropout, and the random state after it."""
    module.zero_grad()
    torch.manual_seed(1)
    forward, backward = counters or (torch.enable_grad(), torch.enable_grad())
    with forward:
        loss = module.training_step(batch, 0)
    with backward:
        loss.backward()
    return [loss.detach(), torch.get_rng_state(), *(w.grad.clone() for w in module.parameters() if w.grad is not None)]


@pytest.mark.parametrize("architecture", ["bert", "mpnet", "deberta-v2", "modernbert", "llama", "gpt2"])
def test_counting_changes_no_bit(architecture: str, tiny: Tiny) -> None:
    module, batch = classifier(tiny(architecture)), ragged_batch()
    plain, passes = gradients(module, batch), (FlopCounter(), FlopCounter())
    watched = gradients(module, batch, passes)
    assert len(plain) == len(watched)
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))  # type: ignore[arg-type]
    forward, backward = (each.flops for each in passes)
    assert 1.8 < backward / forward < 2.6  # attention as a whole is recomputed in its backward pass


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "llama"])
def test_counts_are_those_of_pytorch(architecture: str, tiny: Tiny) -> None:
    module, batch = classifier(tiny(architecture)), ragged_batch()
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    own, theirs = (
        FlopCounter(),
        FlopCounterMode(display=False, custom_mapping={attention: lambda *q, **_: sdpa_flop_count(*q[:3])}),
    )
    module.eval()  # with dropout, attention on a CPU is plain matrix products
    with own, torch.no_grad():
        module.training_step(batch, 0)
    with theirs, torch.no_grad():
        module.training_step(batch, 0)
    assert own.flops == theirs.get_total_flops() > 0
    assert any("attention" in str(name) or "bmm" in str(name) for name in theirs.get_flop_counts()["Global"])


def test_attention_on_a_cpu_by_hand() -> None:
    query = torch.ones(1, 3, 5, 4, requires_grad=True)
    forward, backward = FlopCounter(), FlopCounter()
    with forward:
        loss = nn.functional.scaled_dot_product_attention(query, query, query).sum()
    with backward:
        loss.backward()
    product = 2 * 3 * 5 * 5 * 4  # of one head's queries and keys, for three heads
    assert (forward.flops, backward.flops) == (2 * product, 5 * product)


def test_shapes_that_no_formula_knows_leave_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> int:
        raise AssertionError("no such shapes")

    monkeypatch.setitem(flops.FORMULAS, torch.ops.aten.tanh, fails)
    found = counted(Tower())
    assert _known(found.total()[0]) is None
    assert found.total()[1] == 5 * TOKENS * 4 * (LAYERS + HEAD)


def test_tokens_of_a_batch_are_all_that_go_through_the_model() -> None:
    batch = {"input_ids": torch.ones(2, 5), "labels": torch.ones(2, 3)}
    encoder, both = MagicMock(), MagicMock()
    encoder.model.config.is_encoder_decoder, both.model.config.is_encoder_decoder = False, True
    assert padded_tokens(batch, encoder) == 10
    assert padded_tokens(batch, both) == 16
    assert padded_tokens({**batch, "unlabelled": {"input_ids": torch.ones(2, 4)}}, encoder) == 18


def test_peak_of_matrix_products() -> None:
    state = torch.get_rng_state()
    kinds = {"32-true": torch.float32, "64-true": torch.float64, "bf16-true": torch.bfloat16, "bf16-mixed": torch.bfloat16}
    assert {precision: compute_dtype(precision) for precision in kinds} == kinds
    assert compute_dtype("16-mixed") == torch.float16
    assert measured_peak(torch.device("cpu"), torch.float32, torch.get_num_threads(), seconds=0.001) > 1e8
    assert torch.equal(torch.get_rng_state(), state)


# Whole runs


@pytest.fixture
def fit(tiny: Tiny, sentiment: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Arguments of a run of 11 steps an epoch."""
    monkeypatch.setattr(sys, "argv", ["ftlit"])

    def make(run_dir: Path, **options: Any) -> list[str]:
        given = {"run_dir": run_dir, "model__backbone": tiny("bert"), "data__dataset": sentiment, "patience": "null", **options}
        return arguments("fit", "TextClassification", "TextClassificationData", **given)

    return make


def efficiency(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "results.json").read_text())["efficiency"]


def test_efficiency_of_a_run(fit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratios = {}
    for tuning in ("Full", "LoRA", "Frozen"):
        run_dir = tmp_path / tuning
        main(
            fit(run_dir, model__tuning=tuning, model__trunk_cache="false", trainer__max_epochs=2, trainer__val_check_interval=5)
        )
        found, state = efficiency(run_dir), torch.load(run_dir / LAST, weights_only=True)["cost"][0]
        ratios[tuning] = found["backward_flops"] / found["forward_flops"]
        assert state["examples"] == 2 * 83
        assert found["tokens_per_second"] * found["train_seconds"] == pytest.approx(state["tokens"])
        assert found["seconds_per_epoch"] == pytest.approx(found["train_seconds"] / 2)
        assert found["seconds_to_best"] == state["validations"][step_of(run_dir / BEST)] <= found["train_seconds"]
        assert len(state["validations"]) == 5  # at steps 5, 10, 16, 21, and at the end
        layer, attention = 4 * 32 * 32 + 2 * 32 * 48, 3 * 32 * 32  # weights, and those before the attention of a layer
        linear = layer + (layer if tuning == "Frozen" else attention)  # what trains goes on with the first token of a text
        linear *= 1 + (found["trained_parameters"] - 66) / (2 * layer) if tuning == "LoRA" else 1
        tokens = state["flops"]["tokens"]
        assert tokens >= state["tokens"]
        assert 1 < found["forward_flops"] / (2 * linear * tokens) < 1.25  # attention, first tokens and the pooler come on top
        total = found["forward_flops"] + found["backward_flops"]
        peak = found["matmul_peak_flops_per_second"]
        assert found["matmul_peak_share"] == pytest.approx(total / found["train_seconds"] / peak)
        assert found["checkpoint_bytes"] == (run_dir / BEST).stat().st_size
        assert found["peak_memory_bytes"] > 1e8
    assert ratios["Full"] > 1.8 > ratios["LoRA"] > 1 > 0.02 > ratios["Frozen"]
    assert "FLOPs forward and" in capsys.readouterr().out


@pytest.mark.slow
def test_totals_survive_interruptions(fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, whole = tmp_path / "run", tmp_path / "whole"
    staged = {"model__tuning": "GradualUnfreezing", "model__tuning__steps": "[7, 13]", "save_every_n_steps": 3}
    with monkeypatch.context() as patch:
        keep_snapshots(patch, run_dir, tmp_path / "at")
        main(fit(run_dir, trainer__max_epochs=2, trainer__accumulate_grad_batches=2, data__batching__batch_size=3, **staged))
    run_dir.rename(whole)
    same = ("forward_flops", "backward_flops")
    expected = torch.load(whole / LAST, weights_only=True)["cost"][0]
    snapshots = sorted((tmp_path / "at").iterdir())
    for snapshot in (snapshots[0], snapshots[len(snapshots) // 2]):
        before = torch.load(snapshot / LAST, weights_only=True)["cost"][0]
        shutil.copytree(snapshot, run_dir)
        main(["fit", "--resume", "--run_dir", str(run_dir)])
        assert {key: efficiency(run_dir)[key] for key in same} == {key: efficiency(whole)[key] for key in same}
        state = torch.load(run_dir / LAST, weights_only=True)["cost"][0]
        assert all(state[key] == expected[key] for key in ("examples", "tokens", "flops"))
        assert state["validations"].keys() == expected["validations"].keys()
        assert state["seconds"] > before["seconds"]
        shutil.rmtree(run_dir)


@pytest.mark.slow
def test_two_processes_add_up(fit: Any, tmp_path: Path) -> None:
    two = {"trainer__devices": 2, "trainer__strategy": "ddp", "data__batching__batch_size": 4, "save_every_n_steps": 5}
    ftlit(fit(tmp_path / "two", **two))
    main(fit(tmp_path / "one"))
    one, both = efficiency(tmp_path / "one"), efficiency(tmp_path / "two")
    states = torch.load(tmp_path / "two" / LAST, weights_only=True)["cost"]
    assert sum(state["examples"] for state in states) == 83
    assert both["forward_flops"] == pytest.approx(one["forward_flops"], rel=0.2)
    assert both["backward_flops"] == pytest.approx(one["backward_flops"], rel=0.2)


def test_efficiency_goes_to_trackers() -> None:
    found = {"train_seconds": 2.0, "seconds_to_best": None, "forward_flops": 8.0}
    wandb, other, csv = MagicMock(spec=WandbLogger), MagicMock(spec=Logger), MagicMock(spec=MetricsFile)
    send_efficiency([wandb, other, csv], found, 7)
    sent = {"efficiency/train_seconds": 2.0, "efficiency/forward_flops": 8.0}
    wandb.experiment.summary.update.assert_called_once_with(sent)
    other.log_metrics.assert_called_once_with(sent, step=7)
    csv.log_metrics.assert_not_called()


def test_the_cost_in_words() -> None:
    cost = {
        "train_seconds": 12.0,
        "trunk_seconds": 0.2,
        "teacher_seconds": 0.0,
        "seconds_per_epoch": 4.0,
        "seconds_to_best": 8.0,
        "examples_per_second": 80.0,
        "tokens_per_second": 2000.0,
        "peak_memory_bytes": 700 * 2**20,
        "trained_parameters": 332546,
        "trained_share": 0.0147,
        "checkpoint_bytes": 2**20,
        "forward_flops": 2e12,
        "backward_flops": 1.5e12,
        "matmul_peak_share": 0.431,
    }
    assert cost_text(cost) == (
        "12 s of training (4 s an epoch, the best after 8 s), 80 examples/s, 2000 tokens/s, 700 MiB at most\n"
        "332,546 weights trained (1.47%), 1.0 MiB a checkpoint, 2.00e+12 FLOPs forward and 1.50e+12 backward, "
        "43% of what matrix products reach here"
    )
    stored = cost_text(cost | {"trunk_seconds": 3.0})
    assert "700 MiB at most, and 3 s to compute and store the states of the frozen layers\n" in stored
    unknown = dict.fromkeys(("seconds_to_best", "forward_flops", "backward_flops", "matmul_peak_share", "checkpoint_bytes"))
    assert cost_text(cost | unknown).endswith("700 MiB at most\n332,546 weights trained (1.47%)")

"""Ten steps of tuning methods against plain peft, and against short loops by hand where peft has no such method."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional

from ftlit.tuning import IA3, AdaLoRA, BitFit, BottleneckAdapter, LoRA, PromptTuning, Tuning
from tests.support.parity import STEPS, Case, check_losses, check_weight, loop, run
from tests.support.small import without_dropout
from tests.support.speeds import some_by_default

RATE = 1e-2
LINEAR = {
    "bert": r".*\.layer\..*\.(query|key|value|dense)",
    "llama": r".*\.(q|k|v|o|gate|up|down)_proj",
}
SCALED = {"bert": (r".*\.(key|value)", r".*\.layer\.\d\.output\.dense"), "llama": (r".*\.(k|v)_proj", r".*\.down_proj")}


def low_rank(architecture: str, **options: Any) -> Any:
    return LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=16, target_modules=LINEAR[architecture], **options)


def scaled(architecture: str) -> Any:
    outputs, inputs = SCALED[architecture]
    return IA3Config(task_type="SEQ_CLS", target_modules=f"{outputs}|{inputs}", feedforward_modules=inputs)


def adaptive(architecture: str) -> Any:
    shape = {"init_r": 4, "target_r": 2, "lora_alpha": 16, "target_modules": LINEAR[architecture]}
    return AdaLoraConfig(task_type="SEQ_CLS", **shape, total_step=STEPS, tinit=1, tfinal=3, deltaT=2, orth_reg_weight=0.5)


METHODS: dict[str, tuple[Tuning, Callable[[str], Any]]] = {
    "LoRA": (LoRA(r=4), low_rank),
    "DoRA": (LoRA(r=4, dora=True), lambda architecture: low_rank(architecture, use_dora=True)),
    "rsLoRA": (LoRA(r=4, rslora=True), lambda architecture: low_rank(architecture, use_rslora=True)),
    "PiSSA": (LoRA(r=4, init="pissa"), lambda architecture: low_rank(architecture, init_lora_weights="pissa")),
    "IA3": (IA3(), scaled),
    "AdaLoRA": (AdaLoRA(r=2, init_r=4, deltaT=2), adaptive),
}


@pytest.fixture(scope="module")
def plain(tiny: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of a model without dropout."""
    made: dict[str, str] = {}

    def make(architecture: str) -> str:
        if architecture not in made:
            made[architecture] = without_dropout(tiny(architecture), tmp_path_factory.mktemp(architecture) / "model")
        return made[architecture]

    return make


def bare(name: str) -> str:
    """A weight's name without what wrappers put into it."""
    for part in ("base_model.model.", "modules_to_save.default."):
        name = name.replace(part, "")
    return name


def begin_alike(peer: nn.Module, case: Case) -> dict[str, nn.Parameter]:
    """Give a peer the weights that the run began with; its trained weights by name."""
    start = {bare(name): value for name, value in case.start.items()}
    with torch.no_grad():
        for name, weight in peer.named_parameters():
            if ".original_module." not in name:
                weight.copy_(start[bare(name)])
    trained = {bare(name): weight for name, weight in peer.named_parameters() if weight.requires_grad}
    assert trained.keys() == {bare(name) for name in case.trained}
    return trained


def check_end(trained: dict[str, nn.Parameter], case: Case) -> None:
    end = {bare(name): value for name, value in case.end.items()}
    for name, weight in trained.items():
        check_weight(name, weight, end[name], atol=1e-4)  # ten steps of 1e-2


@pytest.mark.parametrize("architecture", some_by_default(["bert", "llama"], chosen=[0]))
@pytest.mark.parametrize("method", METHODS)
def test_peft_has_the_same_losses(method: str, architecture: str, plain: Callable[[str], str], sentiment: str) -> None:
    tuning, make = METHODS[method]
    case = run(plain(architecture), sentiment, tuning, RATE)
    peer: Any = get_peft_model(case.model(start=False), make(architecture))
    trained = begin_alike(peer, case)
    after = peer.base_model.update_and_allocate if method == "AdaLoRA" else (lambda step: None)
    losses = loop(peer, case, after_step=after, rate=RATE)
    check_losses(case, losses)
    check_end(trained, case)
    if method == "AdaLoRA":
        ranks = peer.peft_config["default"].rank_pattern
        assert sum(kept.count(False) for kept in ranks.values()) == 2 * len(ranks)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_prompt_tuning_has_the_losses_of_peft(architecture: str, plain: Callable[[str], str], sentiment: str) -> None:
    """peft shows its learned tokens to the head; here they are cut off before it sees the text."""
    case = run(plain(architecture), sentiment, PromptTuning(3), RATE)
    peer, prefix = case.model(start=False), {"bert": "bert", "llama": "model"}[architecture]
    config = PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=3)
    setattr(peer, prefix, tuned := get_peft_model(getattr(peer, prefix), config))
    start = {name.replace(f"{prefix}.base.", f"{prefix}.base_model."): value for name, value in case.start.items()}
    start = {name.replace(".prompt.", ".prompt_encoder.default."): value for name, value in start.items()}
    lost = peer.load_state_dict(start, strict=False)
    assert all("word_embeddings" in name or "embed_tokens" in name for name in (*lost.missing_keys, *lost.unexpected_keys))

    def loss_of(batch: dict[str, Tensor]) -> Tensor:
        inputs = {name: value for name, value in batch.items() if name in ("input_ids", "attention_mask")}
        hidden = tuned(**inputs).last_hidden_state[:, 3:]
        if architecture == "bert":
            logits = peer.classifier(tuned.base_model.pooler(hidden))
        else:
            logits = peer.score(hidden[range(len(hidden)), batch["attention_mask"].sum(1) - 1])
        return functional.cross_entropy(logits, batch["labels"])

    check_losses(case, loop(peer, case, loss_of, rate=RATE))


class Adapted(nn.Module):
    """A linear layer and a bottleneck with a residual connection behind it (Houlsby et al., 2019), by hand."""

    def __init__(self, layer: nn.Linear, inner: int) -> None:
        super().__init__()
        self.layer, self.down, self.up = layer, nn.Linear(32, inner), nn.Linear(inner, 32)

    def forward(self, hidden: Tensor) -> Tensor:
        given = self.layer(hidden)
        return given + self.up(functional.gelu(self.down(given)))


@pytest.mark.parametrize(("kind", "parts"), [("houlsby", ("attention.output", "output")), ("pfeiffer", ("output",))])
def test_bottlenecks_have_the_losses_of_a_loop_by_hand(
    kind: Any, parts: tuple[str, ...], plain: Callable[[str], str], sentiment: str
) -> None:
    case = run(plain("bert"), sentiment, BottleneckAdapter(kind, 8), RATE)
    peer = case.model(start=False).requires_grad_(False)
    peer.classifier.requires_grad_(True)
    for layer in peer.bert.encoder.layer:
        for part in parts:
            place: Any = layer.get_submodule(part)
            place.dense = Adapted(place.dense, 4)
    start = {name.replace(".dense.adapter.", ".dense."): value for name, value in case.start.items()}
    missing = peer.load_state_dict(start, strict=False).missing_keys
    assert all(".dense.layer." in name for name in missing)  # frozen, and as the files have them
    check_losses(case, loop(peer, case, rate=RATE))


def test_bit_fit_has_the_losses_of_a_loop_by_hand(plain: Callable[[str], str], sentiment: str) -> None:
    case = run(plain("bert"), sentiment, BitFit(), RATE)
    peer = case.model()
    for name, weight in peer.named_parameters():
        weight.requires_grad_(name.endswith("bias") or name.startswith("classifier."))
    check_losses(case, loop(peer, case, rate=RATE))
    for name, weight in peer.named_parameters():
        check_weight(name, weight, case.end[name], atol=1e-4)

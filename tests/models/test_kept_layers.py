"""A model that begins with some of a backbone's layers: its weights are those of the layers, and it opens again as it was."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

import ftlit
from ftlit.errors import UserError
from ftlit.exports.adapters import check_adapter
from ftlit.models.backbones import load_model
from ftlit.optimization.auxiliary import MaskedLMLoss
from ftlit.tasks import CausalLM, Seq2Seq
from ftlit.tuning import BottleneckAdapter, Frozen, LoRA, PrefixTuning, TopLayers
from tests.support.command_line import arguments, refusal
from tests.support.models import ARCHITECTURES, SIZE, tiny_tokenizer
from tests.support.runs import fitted
from tests.support.small import classifier, logits_of, ragged_batch, saved
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]
MORE = {
    "qwen2": {**SIZE, "num_key_value_heads": 2},
    "gpt_neo": {"hidden_size": 32, "num_layers": 6, "attention_types": [[["global", "local"], 3]], "num_heads": 2},
    "qwen2_moe": {**SIZE, "num_key_value_heads": 2, "num_experts": 2, "num_experts_per_tok": 1, "mlp_only_layers": [0]},
}
LAYERS = {"n_layers", "n_layer", "num_hidden_layers"}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Folder of a tiny model with six layers."""

    @cache
    def make(kind: str) -> str:
        settings = {"vocab_size": 100, "max_position_embeddings": 64, **(ARCHITECTURES | MORE)[kind]}
        settings |= dict.fromkeys(LAYERS & settings.keys(), 6)
        folder = tmp_path_factory.mktemp("deep") / kind
        torch.manual_seed(0)
        auto = AutoModelForCausalLM if kind in ("llama", *MORE) else AutoModel
        auto.from_config(AutoConfig.for_model(kind, **settings)).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return str(folder)

    return make


@pytest.mark.parametrize("kind", [*ARCHITECTURES, "qwen2", "gpt_neo"])
def test_the_model_is_that_of_its_configuration_with_the_weights_of_the_layers(kind: str, deep: Tiny) -> None:
    folder, kept = deep(kind), [0, 2, 5]
    whole = AutoModel.from_pretrained(folder).eval()
    small, new = load_model(AutoModel, folder, kept=kept)
    reference = AutoModel.from_config(AutoConfig.from_pretrained(folder, num_hidden_layers=3, **layer_types(folder, kept)))
    own = reference.state_dict()
    prefix = next(name for name in own if ".1." in name or name.startswith("1.")).partition("1.")[0]
    renamed = {}
    for name, weight in whole.state_dict().items():
        if not name.startswith(prefix):
            renamed[name] = weight
        elif (number := int((rest := name.removeprefix(prefix)).partition(".")[0])) in kept:
            renamed[f"{prefix}{kept.index(number)}.{rest.partition('.')[2]}"] = weight
    reference.load_state_dict(renamed)
    assert small.state_dict().keys() == own.keys()
    inputs = {name: ragged_batch()[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected, found = (model.eval()(**inputs).last_hidden_state for model in (reference, small))
    assert torch.equal(expected, found)
    assert small.config.num_hidden_layers == 3
    assert {id(weight) for weight in new} <= {id(weight) for weight in small.parameters()}


def layer_types(folder: str, kept: list[int]) -> dict[str, Any]:
    found = AutoConfig.from_pretrained(folder).to_dict()
    return {name: [found[name][i] for i in kept] for name in ("layer_types", "attention_layers") if name in found}


def test_random_weights_take_only_the_number_of_layers(deep: Tiny) -> None:
    model = classifier(deep("bert"), pretrained=False, keep_layers=[1, 4]).model
    assert len(model.bert.encoder.layer) == model.config.num_hidden_layers == 2


@pytest.mark.parametrize("tuning", [LoRA(r=2), TopLayers(1), BottleneckAdapter(), PrefixTuning(2), Frozen()], ids=str)
def test_every_tuning_method_starts_from_the_layers(tuning: Any, deep: Tiny) -> None:
    folder = deep("bert")
    task = classifier(folder, tuning=tuning, keep_layers=[1, 3])
    queries = [(name, weight) for name, weight in task.backbone.named_parameters() if "query." in name]
    plain = [weight for name, weight in queries if name.endswith("weight") and "lora" not in name]
    whole = AutoModel.from_pretrained(folder).encoder.layer
    assert len(plain) == 2
    for weight, layer in zip(plain, (whole[1], whole[3]), strict=True):
        assert torch.equal(weight, layer.attention.self.query.weight)
    other = classifier(folder, seed=1, tuning=tuning, keep_layers=[1, 3])
    other.load_state_dict(saved(task)["state_dict"])
    batch = ragged_batch()
    assert torch.equal(logits_of(task, batch), logits_of(other, batch))


def test_other_layers_are_another_model_for_a_checkpoint(deep: Tiny) -> None:
    folder = deep("bert")
    checkpoint = saved(classifier(folder, tuning=Frozen(), keep_layers=[1, 3]))
    with pytest.raises(UserError, match=r"the frozen weights of model\.backbone .* are not those"):
        classifier(folder, tuning=Frozen(), keep_layers=[0, 3]).on_load_checkpoint(checkpoint)


def test_a_language_model_generates_with_fewer_layers(deep: Tiny) -> None:
    folder = deep("llama")
    task = CausalLM(backbone=folder, keep_layers=[0, 5], pad_token_id=0)
    small = AutoModelForCausalLM.from_config(task.model.config)
    small.load_state_dict(task.model.state_dict())
    ids = torch.tensor([[4, 5, 6, 7]])
    found, expected = (m.eval().generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0) for m in (task.model, small))
    assert torch.equal(found, expected)


def test_the_head_of_an_auxiliary_loss_belongs_to_the_smaller_model(deep: Tiny, tmp_path: Path) -> None:
    folder = str(shutil.copytree(deep("bert"), tmp_path / "masked"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = "word75"
    tokenizer.save_pretrained(folder)
    task = classifier(folder, keep_layers=[0, 2], auxiliary=MaskedLMLoss())
    assert task.self_supervision.head.config.num_hidden_layers == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("kept", [[], [0, 6], [2, 1], [1, 1]])
def test_layers_that_are_not_there_are_refused(kept: list[int], deep: Tiny) -> None:
    with pytest.raises(UserError, match=r"keep_layers must name layers of .* in ascending order, each once, from 0 to 5"):
        classifier(deep("bert"), keep_layers=kept)


def test_models_without_a_single_stack_are_refused(tiny_seq2seq: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"keep_layers chooses from a single stack of layers, but .* \(t5\) has more than one"):
        Seq2Seq(backbone=tiny_seq2seq("t5"), keep_layers=[0])
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 100}
    config = AutoConfig.for_model("albert", num_hidden_layers=4, **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"keep_layers does not fit AlbertModel, whose layers share their weights"):
        load_model(AutoModel, str(tmp_path), kept=[0, 2])


def test_layers_that_would_be_others_by_their_number_are_refused(deep: Tiny) -> None:
    folder = deep("qwen2_moe")
    assert len(load_model(AutoModel, folder, kept=[0, 2])[0].layers) == 2
    with pytest.raises(UserError, match=r"not fit Qwen2MoeModel: by its number, a layer would have another layers\.0\.mlp"):
        load_model(AutoModel, folder, kept=[1, 2])


@pytest.mark.parametrize("head", some_by_default(["TaskHead", "PooledHead"], {0}))
def test_a_run_of_a_smaller_model_is_exported_and_opened(
    head: str, deep: Tiny, sentiment: str, tmp_path: Path, in_process: None
) -> None:
    options = {"model__backbone": deep("bert"), "model__keep_layers": "[0, 2]", "model__head": head}
    run = fitted(tmp_path / "run", "TextClassification", data__dataset=sentiment, data__limit_train=16, **options)
    ftlit.export(str(run), str(tmp_path / "export"))
    texts = ["word1 good word2", "bad"]
    predicted = [ftlit.load(folder)(texts, scores=True) for folder in (run, tmp_path / "export")]
    scores = [[row["scores"]["good"] for row in rows] for rows in predicted]
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)
    config = json.loads(next((tmp_path / "export").rglob("config.json")).read_text())
    assert (config.get("backbone") or config)["num_hidden_layers"] == 2


def test_an_adapter_of_a_smaller_model_is_not_exported_alone(deep: Tiny) -> None:
    with pytest.raises(UserError, match=r"keep_layers leaves out layers that the base model has; remove --adapter-only"):
        check_adapter(classifier(deep("bert"), tuning=LoRA(r=2), keep_layers=[0, 2]))


def test_bad_layers_leave_nothing(deep: Tiny, sentiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"model__backbone": deep("bert"), "data__dataset": sentiment, "run_dir": tmp_path / "run"}
    for kept, reason in {"[0, 9]": "from 0 to 5, got [0, 9]", "[-1, 0]": "model.keep_layers must be at least 0"}.items():
        args = arguments("fit", "TextClassification", "TextClassificationData", model__keep_layers=kept, **given)
        assert reason in refusal(args, capsys)
    assert not (tmp_path / "run").exists()

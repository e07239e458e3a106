"""Learned tokens are invisible to heads and spans, blind to padding, and what peft and a loop by hand make of them."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig as PrefixConfig
from peft import PromptEncoderConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from ftlit.__main__ import main
from ftlit.commands.links import positions_of
from ftlit.data import TextClassificationData
from ftlit.errors import UserError
from ftlit.heads import PooledHead
from ftlit.tasks import QuestionAnswering, TaskModule, TokenClassification
from ftlit.tuning import Combined, LoRA, PrefixTuning, PromptTuning, PTuning, Tuning
from tests.support.command_line import arguments
from tests.support.small import logits_of
from tests.support.tuning.life import texts, tuned
from tests.support.tuning.methods import ARCHITECTURES, PAIRS

Tiny = Callable[[str], str]
COUNT = 4
PROMPTS: dict[str, Tuning] = {
    "PromptTuning": PromptTuning(COUNT),
    "PTuning": PTuning(COUNT),
    "PrefixTuning": PrefixTuning(COUNT),
    "LoRA+PromptTuning": Combined([LoRA(r=2), PromptTuning(COUNT)]),
}
FITTING = [(m, a) for m in PROMPTS for a in ARCHITECTURES if (m, a) in PAIRS]


def strange(module: Any) -> Any:
    """A module whose prompt is far from anything that it has seen, so that whoever sees it shows it."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "prompt." in name:
                weight.copy_(torch.randn_like(weight))
    return module


# Heads and spans


@pytest.mark.parametrize("architecture", ["bert", "roberta", "llama", "t5"])
@pytest.mark.parametrize("method", PROMPTS)
@pytest.mark.parametrize("task", [TokenClassification, QuestionAnswering])
def test_each_token_of_the_text_has_its_logits(task: type[TaskModule], method: str, architecture: str, folder_of: Tiny) -> None:
    if (method, architecture) not in FITTING:
        pytest.skip("a gap of the matrix")
    given = {"label_names": ["a", "b", "c"]} if task is TokenClassification else {}
    torch.manual_seed(0)
    module = task(backbone=folder_of(architecture), tuning=PROMPTS[method], pad_token_id=0, **given)
    batch = texts()
    output = module.eval()({name: batch[name] for name in ("input_ids", "attention_mask")})
    found = output.logits if task is TokenClassification else torch.stack([output.start_logits, output.end_logits], -1)
    assert found.shape == (4, 11, 3 if given else 2)


@pytest.mark.parametrize(("method", "architecture"), FITTING)
def test_padding_changes_nothing(method: str, architecture: str, folder_of: Tiny) -> None:
    module, batch = strange(tuned(folder_of(architecture), PROMPTS[method])), texts()
    together = logits_of(module, batch)
    for row, length in enumerate(batch["attention_mask"].sum(1)):
        alone = {name: batch[name][row : row + 1, :length] for name in ("input_ids", "attention_mask")}
        torch.testing.assert_close(logits_of(module, alone)[0], together[row], atol=2e-6, rtol=0)
    assert (together[:, 0] - together[:, 1]).unique().numel() == 4, "texts that all look the same"


def encoder_by_hand(module: Any, batch: dict[str, Any]) -> Tensor:
    """Vectors of the text from BERT with its prompt before the word embeddings, without any code of the package."""
    bert, table = module.backbone.base, module.backbone.prompt.embedding.weight
    words = bert.embeddings.word_embeddings(batch["input_ids"])
    prompt = table.expand(len(words), -1, -1)
    mask = torch.cat([torch.ones(len(words), COUNT, dtype=torch.long), batch["attention_mask"]], 1)
    types = torch.cat([torch.zeros(len(words), COUNT, dtype=torch.long), batch["token_type_ids"]], 1)
    hidden = bert(inputs_embeds=torch.cat([prompt, words], 1), attention_mask=mask, token_type_ids=types).last_hidden_state
    return hidden[:, COUNT:]


def pair_batch() -> dict[str, Any]:
    """Texts whose second half is another segment."""
    batch = texts()
    batch["token_type_ids"] = (torch.arange(11) > 1).long() * batch["attention_mask"]
    return batch


def test_the_pooler_sees_the_first_token_of_the_text(tiny: Tiny) -> None:
    module, batch = strange(tuned(tiny("bert"), PromptTuning(COUNT))), pair_batch()
    found = logits_of(module, batch)
    module.eval()
    with torch.no_grad():
        hidden = encoder_by_hand(module, batch)
        pooler = module.backbone.base.pooler.dense
        expected = module.model.classifier((hidden[:, 0] @ pooler.weight.T + pooler.bias).tanh())
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", ["cls", "last", "mean", "max"])
def test_own_heads_see_the_text_alone(pooling: Any, tiny: Tiny) -> None:
    module, batch = strange(tuned(tiny("bert"), PromptTuning(COUNT), head=PooledHead(pooling))), pair_batch()
    found = logits_of(module, batch)
    module.eval()
    with torch.no_grad():
        hidden = encoder_by_hand(module, batch)
        rows = [vectors[:length] for vectors, length in zip(hidden, batch["attention_mask"].sum(1), strict=True)]
        pool = {"cls": lambda v: v[0], "last": lambda v: v[-1], "mean": lambda v: v.mean(0), "max": lambda v: v.amax(0)}
        expected = module.model.head(torch.stack([pool[pooling](vectors) for vectors in rows]))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", PROMPTS)
def test_segments_of_pairs_are_kept(method: str, tiny: Tiny) -> None:
    module, batch = strange(tuned(tiny("bert"), PROMPTS[method])), pair_batch()
    table = next(weight for name, weight in module.named_parameters() if "token_type_embeddings" in name)
    table.data *= 100  # a tiny model is deaf to segments
    one = logits_of(module, batch)
    other = logits_of(module, {**batch, "token_type_ids": torch.zeros_like(batch["token_type_ids"])})
    assert float((one - other).abs().amax(1).min()) > 5e-5


# What the learned tokens are


@pytest.mark.parametrize("architecture", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("method", ["PromptTuning", "PTuning", "PTuning-lstm", "PrefixTuning", "PrefixTuning-projection"])
def test_vectors_are_those_of_peft(method: str, architecture: str, folder_of: Tiny) -> None:
    ours, make = {
        "PromptTuning": (PromptTuning(COUNT), PromptTuningConfig),
        "PTuning": (PTuning(COUNT), PromptEncoderConfig),
        "PTuning-lstm": (PTuning(COUNT, "lstm", 8), PromptEncoderConfig),
        "PrefixTuning": (PrefixTuning(COUNT), PrefixConfig),
        "PrefixTuning-projection": (PrefixTuning(COUNT, True, 8), PrefixConfig),
    }[method]
    module = strange(tuned(folder_of(architecture), ours)).backbone.eval()
    more = {
        "PTuning": {"encoder_hidden_size": 32},
        "PTuning-lstm": {"encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 8},
        "PrefixTuning-projection": {"prefix_projection": True, "encoder_hidden_size": 8},
    }.get(method, {})
    plain = AutoModel.from_pretrained(folder_of(architecture), dtype=torch.float32)
    peer = get_peft_model(plain, make(task_type="FEATURE_EXTRACTION", num_virtual_tokens=COUNT, **more)).eval()
    peer.prompt_encoder["default"].load_state_dict(module.prompt.state_dict())
    batch = texts()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        found, expected = module(**inputs).last_hidden_state, peer(**inputs).last_hidden_state
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[:, -11:][real], atol=1e-5, rtol=0)


def test_where_prompts_begin(tiny: Tiny) -> None:
    table = AutoModel.from_pretrained(tiny("bert")).embeddings.word_embeddings.weight
    learned = {
        tuning.init: tuned(tiny("bert"), tuning).backbone.prompt.embedding.weight
        for tuning in (PromptTuning(6), PromptTuning(6, "text", "good word1"), PromptTuning(6, "random"))
    }
    assert all(any(torch.equal(vector, row) for row in table) for vector in learned["vocabulary"])
    ids = AutoTokenizer.from_pretrained(tiny("bert"))("good word1")["input_ids"]
    assert torch.equal(learned["text"], table[(ids * 2)[:6]])
    assert not any(torch.equal(vector, row) for row in table for vector in learned["random"])


# Positions


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "distilbert", "gpt2"])
def test_the_longest_text_fits_beside_a_prompt(architecture: str, tiny: Tiny) -> None:
    """All these models have 64 positions, RoBERTa and MPNet two more for padding."""
    module = tuned(tiny(architecture), PromptTuning(COUNT))
    ids = torch.randint(4, 100, (2, 64 - COUNT))
    assert logits_of(module, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).isfinite().all()
    more = torch.cat([ids] + [ids[:, :1]] * (3 if architecture in ("roberta", "mpnet") else 1), 1)
    with pytest.raises((IndexError, RuntimeError)):
        logits_of(module, {"input_ids": more, "attention_mask": torch.ones_like(more)})


def test_texts_leave_room_for_a_prompt(tiny: Tiny, sentiment: str) -> None:
    given = {"dataset": sentiment, "backbone": tiny("bert"), "reserved_positions": COUNT}
    assert TextClassificationData(**given).max_length == 60
    assert TextClassificationData(**given, max_length=60).max_length == 60
    with pytest.raises(UserError, match=r"data\.max_length is 61, but .* takes at most 60 tokens, since model\.tuning takes 4"):
        TextClassificationData(**given, max_length=61)


@pytest.mark.parametrize(
    "tuning",
    [
        {"class_path": "PromptTuning", "init_args": {"tokens": COUNT}},
        {
            "class_path": "Combined",
            "init_args": {"methods": [{"class_path": "LoRA"}, {"class_path": "PTuning", "init_args": {"tokens": COUNT}}]},
        },
    ],
    ids=["PromptTuning", "Combined"],
)
def test_the_command_line_leaves_room_for_a_prompt(
    tuning: dict[str, Any], tiny: Tiny, sentiment: str, tmp_path: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    given = {"model__backbone": tiny("bert"), "data__dataset": sentiment, "model__tuning": json.dumps(tuning)}
    args = arguments("fit", "TextClassification", "TextClassificationData", run_dir=tmp_path / "run", **given)
    with pytest.raises(SystemExit):
        main([*args, "--data.max_length=61"])
    assert "data.max_length is 61, but" in (said := capsys.readouterr().err)
    assert "takes at most 60 tokens, since model.tuning takes 4 for itself" in said


def test_positions_of_methods() -> None:
    assert positions_of(PromptTuning(7)) == 7
    assert positions_of(PrefixTuning(3)) == 3
    assert positions_of(Combined([LoRA(), PTuning(5)])) == 5
    assert positions_of(LoRA()) == 0


def test_a_prompt_stands_once_before_a_text_not_in_a_block_of_several(tiny: Tiny) -> None:
    module, batch = tuned(tiny("bert"), PromptTuning(COUNT)), texts()
    says = r"PromptTuning adds its tokens before a single text, but a block has several; set data\.packing: false"
    with pytest.raises(UserError, match=says):
        module({**batch, "position_ids": torch.arange(11).expand(4, -1)})


def test_the_backbone_beneath_a_prompt_is_still_reached(tiny: Tiny) -> None:
    backbone = tuned(tiny("bert"), PromptTuning(COUNT)).backbone
    assert isinstance(backbone.get_input_embeddings(), nn.Embedding)
    assert backbone.config.hidden_size == 32
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        backbone.nothing_of_the_kind  # noqa: B018

"""Replies behind a prompt: with a cache, padded on the left, and beam by beam, the tokens are those without any of it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ftlit.data import ChatData, CorpusData
from ftlit.data.batches.batching import MicroBatch
from ftlit.errors import UserError
from ftlit.models.generation import Generation, left_padded
from ftlit.tasks import CausalLM, Seq2Seq
from ftlit.tuning import Combined, LoRA, PrefixTuning, PromptTuning, PTuning, Tuning
from tests.support.chats import byte_tokenizer, chat_model, echoes
from tests.support.data import write_splits

COUNT, LONGEST = 3, 12
PROMPTS: dict[str, Tuning] = {
    "PromptTuning": PromptTuning(COUNT),
    "PTuning": PTuning(COUNT),
    "PrefixTuning": PrefixTuning(COUNT),
    "LoRA+PromptTuning": Combined([LoRA(r=2), PromptTuning(COUNT)]),
}
TEXTS = [[20, 21, 22, 23, 24, 25, 26, 27, 28], [30, 31], [40, 41, 42, 43, 44]]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    made: dict[str, str] = {}

    def make(architecture: str) -> str:
        if architecture not in made:
            made[architecture] = chat_model(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return make


def writer(folder: str, tuning: Tuning) -> CausalLM:
    """A model whose tokens depend on all that it has read: its weights are large, its prompt is anything."""
    torch.manual_seed(0)
    module = CausalLM(backbone=folder, tuning=tuning, pad_token_id=0).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn_like(weight) * (1.0 if "prompt." in name else 0.3))
    return module


def step_by_step(module: CausalLM, ids: list[int]) -> list[int]:
    """The likeliest tokens after a text, each from the whole text so far."""
    written = list(ids)
    for _ in range(LONGEST):
        with torch.no_grad():
            logits = module({"input_ids": torch.tensor([written])}).logits[0, -1]
        logits[module.model.generation_config.eos_token_id or []] = -torch.inf
        written.append(int(logits.argmax()))
    return written[len(ids) :]


def generated(module: CausalLM, texts: list[list[int]], **options: Any) -> Tensor:
    inputs = left_padded(texts, 0)
    length = {"max_new_tokens": LONGEST, "min_new_tokens": LONGEST}
    return module.model.generate(**inputs, do_sample=False, **length, **options)[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("method", PROMPTS)
def test_a_cache_and_left_padding_change_nothing(method: str, architecture: str, backbone: Callable[[str], str]) -> None:
    module = writer(backbone(architecture), PROMPTS[method])
    expected = [step_by_step(module, text) for text in TEXTS]
    assert len({tuple(tokens) for tokens in expected}) == len(TEXTS)
    assert generated(module, TEXTS).tolist() == expected
    assert generated(module, TEXTS, use_cache=False).tolist() == expected


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("method", PROMPTS)
def test_beams_change_nothing_but_the_search(method: str, architecture: str, backbone: Callable[[str], str]) -> None:
    module = writer(backbone(architecture), PROMPTS[method])
    found = [generated(module, TEXTS, num_beams=3, use_cache=cache).tolist() for cache in (True, False)]
    assert found[0] == found[1]
    assert found[0] != generated(module, TEXTS).tolist()


@pytest.mark.parametrize("method", PROMPTS)
def test_the_prompt_decides_what_is_written(method: str, backbone: Callable[[str], str]) -> None:
    module = writer(backbone("llama"), PROMPTS[method])
    before = generated(module, TEXTS).tolist()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "prompt." in name and weight.ndim > 1:
                weight.neg_()
    assert generated(module, TEXTS).tolist() != before


@pytest.mark.parametrize("method", PROMPTS)
def test_a_reply_leaves_room_for_the_prompt(method: str, backbone: Callable[[str], str]) -> None:
    """The model has 256 positions; a text that is too long is cut in front."""
    folder = backbone("gpt2")
    module = CausalLM(backbone=folder, tuning=PROMPTS[method], pad_token_id=0, generation=Generation(max_new_tokens=8)).eval()
    assert module.position_limit == 256 - COUNT
    text = module.replies([[20 + i % 9 for i in range(400)], [30, 31]])
    assert len(text) == 2
    with pytest.raises(UserError, match=r"max_new_tokens is 253, but the model takes 253 tokens with the prompt"):
        CausalLM(backbone=folder, tuning=PROMPTS[method], pad_token_id=0, generation=Generation(max_new_tokens=253))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_splits(tmp_path_factory.mktemp("echoes"), {"train": echoes(20, 0), "validation": echoes(5, 1)})


@pytest.mark.parametrize("method", PROMPTS)
def test_packing_is_refused(method: str, rows: str, backbone: Callable[[str], str]) -> None:
    says = rf"{type(PROMPTS[method]).__name__} adds its tokens before a single text.*set data\.packing: false, or with raw text"
    keys = {"prompt": "question", "response": "answer", "template": "chatml", "max_length": 128, "packing": True}
    folder = backbone("llama")
    chat = ChatData(dataset=rows, backbone=folder, reserved_positions=COUNT, **keys)
    module = CausalLM(backbone=folder, tuning=PROMPTS[method], pad_token_id=0, stop_id=chat.stop_id)
    chat.setup()
    with pytest.raises(UserError, match=says):
        module.logits(chat.collate(chat.encoded["train"][:8], MicroBatch(list(range(8)), 8.0, 0)))


def test_raw_text_without_boundaries_is_trained(backbone: Callable[[str], str], tmp_path: Path) -> None:
    splits = {"train": [{"text": row["question"]} for row in echoes(20, 0)]}
    folder = backbone("llama")
    given = {"dataset": write_splits(tmp_path / "texts", splits), "backbone": folder, "objective": "causal", "max_length": 16}
    losses = {}
    for isolated in (False, True):
        data = CorpusData(**given, reserved_positions=COUNT, isolate_documents=isolated)
        data.setup()
        batch = {**data.collate(data.encoded["train"][:4], MicroBatch([0, 1, 2, 3], 4.0, 0)), "loss_denominator": 4.0}
        module = CausalLM(backbone=folder, tuning=PromptTuning(COUNT), pad_token_id=0)
        if isolated:
            with pytest.raises(UserError, match="adds its tokens before a single text"):
                module.training_step(batch, 0)
        else:
            losses[isolated] = float(module.training_step(batch, 0))
    assert losses[False] > 0


def test_an_encoder_with_a_prompt_writes_the_same_in_any_batch(tiny_seq2seq: Callable[[str], str]) -> None:
    torch.manual_seed(0)
    module = Seq2Seq(backbone=tiny_seq2seq("t5"), tuning=PromptTuning(COUNT), pad_token_id=0).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn_like(weight) * 0.5)
    sources = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in TEXTS]
    together = module.texts(sources)
    assert together == [module.texts([one])[0] for one in sources]
    assert len(set(together)) > 1


@pytest.mark.parametrize(("keep", "texts"), [(False, ["a  b", "c"]), (True, ["a <s> b", "c"])])
def test_special_tokens_are_kept_inside_a_text_alone(keep: bool, texts: list[str]) -> None:
    """Neither the tokens that begin and end a text nor those that pad it are part of it."""
    tokenizer = byte_tokenizer()
    written = [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a <s> b</s><pad>", "c<|im_end|><pad><pad>x")
    ]
    for both, before in ((False, [50, 51]), (True, [2, 1])):
        ids = torch.tensor([[*before, *row][:9] + [0] * (9 - len(before) - len(row)) for row in written])
        ends = SimpleNamespace(eos_token_id=[2, 4], bos_token_id=1, forced_bos_token_id=None)
        config = SimpleNamespace(is_encoder_decoder=both)
        model = SimpleNamespace(generate=lambda ids=ids, **_: ids, config=config, generation_config=ends)
        inputs = {"input_ids": torch.tensor([before, before])}
        assert Generation().texts(model, tokenizer, inputs, 9, keep) == texts

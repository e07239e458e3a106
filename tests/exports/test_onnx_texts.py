"""Graphs of ONNX that write texts write those of their runs: to ONNX Runtime alone, and to `ftlit.load`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.exports.onnx.generation import generate
from ftlit.exports.onnx.generation.generate import Graphs, Writer, repeating, unfollowed, written
from ftlit.exports.onnx.generation.graphs import check_cache, write_graphs
from ftlit.exports.onnx.generation.model import open_graph
from ftlit.exports.onnx.generation.script import along
from ftlit.exports.onnx.generation.verify import Case, case_of, write
from ftlit.exports.predict import predict
from ftlit.exports.traced.tracing import merge_if_possible
from ftlit.models.generation import Generation
from tests.support.command_line import refusal
from tests.support.every_task import CASES, LORA, run_of
from tests.support.graphs import example_of, printed, rows_of, texts_of
from tests.support.models import tiny_tokenizer
from tests.support.runs import METHODS
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]
WRITERS = [case for case in CASES if case[0] in ("CausalLM", "Seq2Seq")]
PROMPT = {"model__tuning": "PromptTuning", **METHODS["PromptTuning"]}
IDS = [[4, 5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15, 16]]
OUT = ["--format", "onnx", "--output"]
LENGTH = 8
CONSTRAINED = Generation(max_new_tokens=LENGTH, min_new_tokens=5, no_repeat_ngram_size=2, repetition_penalty=1.3)


@pytest.fixture
def make(tiny: Tiny, tiny_seq2seq: Tiny) -> Callable[..., Any]:
    """A task that writes texts with fresh weights, by the name of its architecture."""

    def build(architecture: str, **options: Any) -> Any:
        given = {"pad_token_id": 0, "generation": Generation(max_new_tokens=LENGTH), **options}
        if architecture in ("llama", "gpt2"):
            names, kind = {"backbone": tiny(architecture)}, ftlit.CausalLM
        elif architecture == "joined":
            names, kind = {"backbone": tiny("bert"), "decoder": tiny("bert")}, ftlit.Seq2Seq
        else:
            names, kind = {"backbone": tiny_seq2seq(architecture)}, ftlit.Seq2Seq
        torch.manual_seed(0)
        return kind(**names, **given).eval()

    return build


def saved(kind: str, folder: Path, **config: Any) -> str:
    """A tiny decoder of some kind in a folder."""
    ids = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    settings = transformers.AutoConfig.for_model(kind, hidden_size=32, num_hidden_layers=2, **ids, **config)
    transformers.AutoModelForCausalLM.from_config(settings).save_pretrained(folder)
    tiny_tokenizer(pairs=False).save_pretrained(folder)
    return str(folder)


def sources_of(task: Any) -> list[Any]:
    if not task.model.config.is_encoder_decoder:
        return IDS
    return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in IDS]


def traced(task: Any, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    merge_if_possible(task)
    write_graphs(task, task.generation_inputs(sources_of(task)), folder)


def apart(folder: Path, case: Case) -> float:
    """The largest difference of logits along a text, read token by token."""
    found = along(Graphs(folder), case.text.numpy(), {name: value.numpy() for name, value in case.inputs.items()})
    return float((torch.from_numpy(found) - case.logits).abs().max())


def texts_written(task: Any, sources: list[Any], folder: Path) -> list[list[int]]:
    """What a task writes with the settings of a folder, without the tokens that begin and end texts."""
    encoded = task.model.config.is_encoder_decoder
    settings = json.loads((folder / "generation_config.json").read_text())
    return [written(ids[encoded:], settings, encoded) for ids in write(task, sources, LENGTH).tolist()]


def assert_same(task: Any, folder: Path) -> None:
    """Trace a task, and compare texts and logits for one row and for three of other lengths."""
    sources = sources_of(task)
    cases = [case_of(task, some, write(task, some, LENGTH)) for some in (sources, sources[1:2])]
    plain = [write(task, some, LENGTH).tolist() for some in (sources, sources[1:2])]
    traced(task, folder)
    for case in cases:
        assert apart(folder, case) < 1e-5
    writer, encoded = Writer(folder), task.model.config.is_encoder_decoder
    for found, ids in ((writer(IDS), plain[0]), (writer(IDS[1:2]), plain[1])):
        assert found == [written(row[encoded:], writer.settings, encoded) for row in ids]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", some_by_default(["llama", "gpt2", "t5", "bart", "marian", "joined"], [1, 2]))
def test_texts_and_logits(architecture: str, make: Any, tmp_path: Path) -> None:
    assert_same(make(architecture), tmp_path)
    if architecture == "gpt2":  # whose output layer is the table of embeddings
        weights = onnx.load(tmp_path / "model.onnx").graph.initializer
        assert sorted([*weight.dims] for weight in weights if 100 in weight.dims) == [[100, 32]]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", some_by_default(["gpt2", "t5"], [0]))
def test_settings_of_the_run(architecture: str, make: Any, tmp_path: Path) -> None:
    """Constraints are those of transformers; beams are written by `generate` over the graph, and refused by the program."""
    assert_same(make(architecture, generation=CONSTRAINED), tmp_path / "one")
    beams = Generation(max_new_tokens=LENGTH, num_beams=3, length_penalty=0.5)
    task = make(architecture, generation=beams)
    inputs, config = task.generation_inputs(sources_of(task)), beams.config(task.tokenizer, LENGTH)
    expected = task.model.generate(**inputs, generation_config=config)
    traced(task, tmp_path / "two")
    found = open_graph(tmp_path / "two", task.model).generate(**inputs, generation_config=config)
    assert found.tolist() == expected.tolist()
    with pytest.raises(ValueError, match="has num_beams: 3, which this program does not follow; pass num_beams=1 to write"):
        Writer(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("method", some_by_default(list(METHODS), [6]))
@pytest.mark.parametrize("architecture", ["gpt2", "t5"])
def test_every_method(method: str, architecture: str, make: Any, tmp_path: Path) -> None:
    """Prompts become keys and values of the graph, which the cache does not return."""
    if architecture == "t5" and method in ("BitFit", "PrefixTuning"):  # it has no biases, and a decoder takes no prefix
        pytest.skip("is refused when the task is made")
    kind = getattr(ftlit, method if method != "PiSSA" else "LoRA")
    options = {name.rpartition("__")[2]: value for name, value in METHODS[method].items() if name.startswith("model__tuning__")}
    given = {name: value == "true" if value in ("true", "false") else value for name, value in options.items()}
    task = make(architecture, tuning=kind(**given))
    with torch.no_grad():
        for weight in task.parameters():
            if weight.requires_grad:  # else updates that begin with zero would do nothing
                weight += 0.02 * torch.randn_like(weight)
    assert_same(task, tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("mistral", {"sliding_window": 4, "num_key_value_heads": 1, "head_dim": 16}),
        ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
        ("bloom", {}),
        ("gpt_neox", {}),
    ],
)
def test_other_decoders(kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    """Windows that are shorter than the text, and positions that come from the mask."""
    backbone = saved(kind, tmp_path / "model", num_attention_heads=2, intermediate_size=48, **config)
    task = ftlit.CausalLM(backbone=backbone, pad_token_id=0, generation=Generation(max_new_tokens=LENGTH)).eval()
    assert_same(task, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "tuning"),
    [*((case, LORA) for case in WRITERS), *((case, PROMPT) for case in WRITERS if case[1]["data"] != "corpus")],
    ids=str,
)
def test_runs(case: Any, tuning: dict[str, Any], tmp_path: Path) -> None:
    """A process without PyTorch compares the folder with the run; so do `ftlit.load`, `predict` and the model card here."""
    run, folder = run_of(case, tmp_path, **tuning), tmp_path / "out"
    main(["export", "--run", str(run), *OUT, str(folder)])
    assert json.loads((folder / "ftlit.json").read_text())["difference"] < 1e-5
    graphs = {"encoder_model.onnx", "decoder_model.onnx"} if case[0] == "Seq2Seq" else {"model.onnx"}
    assert {file.name for file in folder.glob("*.onnx")} == graphs
    assert not any(b"site-packages" in (folder / name).read_bytes() for name in graphs)
    rows = rows_of(run)
    expected = ftlit.load(run, device="cpu")(rows)
    assert ftlit.load(folder, device="cpu")(rows, batch_size=4) == expected
    lines = tmp_path / "in.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    predict(str(folder), str(lines), str(tmp_path / "out.jsonl"))
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == expected
    lines_of = [line for row in expected for line in row["prediction"].splitlines() or [""]]  # which random weights may break
    assert printed(folder, texts_of(rows)) == lines_of


@pytest.mark.slow
def test_names_of_inputs_and_outputs(make: Any, tmp_path: Path) -> None:
    traced(make("llama"), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    inputs = {given.name: given.shape for given in session.get_inputs()}
    layers = [f"{i}.{kind}" for i in range(2) for kind in ("key", "value")]
    assert list(inputs) == ["input_ids", "attention_mask", *(f"past_key_values.{name}" for name in layers)]
    assert inputs["past_key_values.1.key"] == ["batch", 2, "past", 16]
    assert [given.name for given in session.get_outputs()] == ["logits", *(f"present.{name}" for name in layers)]


@pytest.mark.slow
def test_long_prompts_are_read_in_parts(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first part of a row is nothing but padding."""
    task = make("llama")
    expected = write(task, IDS, LENGTH).tolist()
    traced(task, tmp_path)
    monkeypatch.setattr(generate, "CHUNK", 3)
    monkeypatch.setattr("ftlit.exports.onnx.generation.model.CHUNK", 3)
    writer, model = Writer(tmp_path), open_graph(tmp_path, task.model)
    assert writer(IDS) == [written(ids, writer.settings, False) for ids in expected]
    config = task.generation.config(task.tokenizer, LENGTH)
    found = model.generate(**task.generation_inputs(IDS), generation_config=config)
    assert found[:, 7:].tolist() == expected


@pytest.mark.slow
def test_draws(make: Any, tmp_path: Path) -> None:
    task = make("gpt2", generation=Generation(max_new_tokens=LENGTH, do_sample=True, top_k=5, temperature=2.0, seed=3))
    traced(task, tmp_path)
    first, again, other = (Writer(tmp_path, seed=seed)(IDS) for seed in (3, 3, 4))
    assert first == again != other


# What is refused, and what is left


def test_settings_that_the_program_does_not_follow() -> None:
    assert unfollowed({"num_beams": 1, "do_sample": True, "length_penalty": 2.0, "min_length": 0}) == []
    assert unfollowed({"num_beams": 4, "encoder_no_repeat_ngram_size": 3}) == ["num_beams", "encoder_no_repeat_ngram_size"]
    assert unfollowed({"bad_words_ids": [[58100]]}) == []
    assert unfollowed({"bad_words_ids": [[5, 6]]}) == ["bad_words_ids"]


def test_repeating() -> None:
    assert repeating([1, 2, 3, 1, 2], 3) == [3]
    assert repeating([1, 2, 1, 5, 1], 2) == [2, 5]
    assert repeating([1, 2], 1) == [1, 2]
    assert repeating([1], 3) == repeating([1, 2, 3], 0) == []


def test_what_is_written() -> None:
    settings = {"bos_token_id": 2, "forced_bos_token_id": 9, "eos_token_id": [3, 4]}
    assert written([9, 5, 6, 4, 7], settings, encoded=True) == [5, 6]
    assert written([2, 5, 6, 3, 0], settings, encoded=False) == [2, 5, 6]


def test_a_draw_is_of_the_most_probable_tokens() -> None:
    writer = Writer.__new__(Writer)
    writer.random = np.random.default_rng(0)
    scores = np.log(np.array([0.1, 0.6, 0.05, 0.25]))
    for settings, tokens in (({"top_k": 2}, {1, 3}), ({"top_p": 0.8}, {1, 3}), ({"top_p": 0.5}, {1}), ({}, {0, 1, 2, 3})):
        writer.settings = generate.FOLLOWED | settings
        assert {writer._draw(scores) for _ in range(200)} == tokens


def test_a_state_is_no_cache(tmp_path: Path) -> None:
    backbone = saved("mamba", tmp_path / "model", state_size=4)
    with pytest.raises(UserError, match="--format onnx keeps keys and values of earlier tokens, but MambaForCausalLM keeps"):
        check_cache(ftlit.CausalLM(backbone=backbone, pad_token_id=0))


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_nothing_is_left_of_what_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that fails, a graph that gives something else, and an interruption."""
    run, target = run_of(WRITERS[0], tmp_path, **LORA), tmp_path / "there/out"
    command = ["export", "--run", str(run), *OUT, str(target)]

    def fails(*args: Any, **options: Any) -> None:
        raise RuntimeError("no such operator")

    with monkeypatch.context() as patch:
        patch.setattr(torch.onnx, "export", fails)
        assert "--format onnx: the exporter of PyTorch cannot follow GPT2LMHeadModel" in refusal(command, capsys)
    assert list(target.parent.iterdir()) == []

    def other(task: Any, *args: Any) -> None:
        with torch.no_grad():
            task.model.lm_head.weight[5] *= -1
        write_graphs(task, *args)
        raise_if(interrupted)

    def raise_if(interrupted: list[bool]) -> None:
        if interrupted:
            raise KeyboardInterrupt

    interrupted: list[bool] = []
    monkeypatch.setattr("ftlit.exports.onnx.form.write_graphs", other)
    assert "the export differs from the run: logits in a process with onnxruntime alone by" in refusal(command, capsys)
    assert list(target.parent.iterdir()) == []
    interrupted.append(True)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(command)
    assert list(target.parent.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_beams_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At export and in the model card, whose program writes without them."""
    run = run_of(WRITERS[2], tmp_path, model__generation__num_beams=3, **LORA)
    main(["export", "--run", str(run), *OUT, str(tmp_path / "out")])
    assert "generate.py in the folder does not follow num_beams of model.generation; ftlit.load does" in capsys.readouterr().out
    assert 'Writer(".", num_beams=1)' in example_of(tmp_path / "out")
    rows = rows_of(run)
    assert ftlit.load(tmp_path / "out")(rows) == ftlit.load(run, device="cpu")(rows)

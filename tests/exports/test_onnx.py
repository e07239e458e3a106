"""Graphs of ONNX give what their runs gave: to ONNX Runtime alone, and to `ftlit.load`."""

import ast
import errno
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.exports.onnx.graph import check_traceable, write_graph
from ftlit.exports.predict import predict
from ftlit.exports.traced.cases import outputs_of
from ftlit.exports.traced.tracing import merge_if_possible, stretched
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows
from tests.support.every_task import CASES, LORA, Case, run_of
from tests.support.graphs import assert_close, check_example, printed, rows_of
from tests.support.models import ARCHITECTURES
from tests.support.runs import METHODS
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]
Finished = Callable[..., Path]
TEXTS = [row["text"] for row in sentiment_rows(12, 7)]
ENCODERS = [case for case in CASES if case[0] not in ("CausalLM", "Seq2Seq")]
NEXT_SENTENCE: Case = ("MaskedLM", {"data": "corpus", "next_sentence": "true"}, "AutoModelForPreTraining")
OUT = ["--format", "onnx", "--output"]


def export(run: Path, folder: Path, *options: str) -> Path:
    main(["export", "--run", str(run), *OUT, str(folder), *options])
    return folder


@pytest.fixture(scope="module")
def exported(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of a run with LoRA; tests only read it."""
    return export(finished("LoRA"), tmp_path_factory.mktemp("onnx") / "out")


def test_it_gives_the_predictions_of_the_run(exported: Path, finished: Finished, tmp_path: Path) -> None:
    run = finished("LoRA")
    expected = ftlit.load(run, device="cpu")(TEXTS, scores=True)
    assert_close(ftlit.load(exported, device="cpu")(TEXTS, scores=True, batch_size=5), expected)
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    predict(str(exported), str(tmp_path / "in.txt"), str(tmp_path / "out.jsonl"), scores=True)
    assert_close([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], expected)
    assert ast.literal_eval(printed(exported, TEXTS)[0]) == [row["prediction"] for row in expected]


def test_contents(exported: Path) -> None:
    names = {"README.md", "config.json", "ftlit.json", "ftlit_config.yaml", "model.onnx"}
    assert {file.name for file in exported.iterdir()} == names | {"tokenizer.json", "tokenizer_config.json"}
    about = json.loads((exported / "ftlit.json").read_text())
    assert (about["kind"], about["task"]["pretrained"], about["dtype"]) == ("onnx", False, "float32")
    assert about["difference"] < 1e-5
    graph = (exported / "model.onnx").read_bytes()
    assert b"site-packages" not in graph  # no paths of the machine that made it
    assert b"lora" not in graph.lower()
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    assert {value.name for value in session.get_inputs()} == {"input_ids", "token_type_ids", "attention_mask"}
    assert all(value.shape == ["batch", "tokens"] for value in session.get_inputs())


def test_no_memory_for_weights(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that the graph replaces is built without its weights."""
    seen: list[str] = []
    whole = ftlit.TextClassification.replace_backbone

    def replaced(task: Any, backbone: Any) -> None:
        seen.extend(weight.device.type for weight in backbone.parameters())
        whole(task, backbone)

    monkeypatch.setattr(ftlit.TextClassification, "replace_backbone", replaced)
    ftlit.load(exported)
    assert set(seen) == {"meta"}


def test_pytorch_has_one_thread_while_the_graph_has_its_own(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), list[int]()
    torch.set_num_threads(2)
    try:
        predictor = ftlit.load(exported)
        decode = predictor.model.decode
        monkeypatch.setattr(predictor.model, "decode", lambda *args: seen.append(torch.get_num_threads()) or decode(*args))
        predictor(["fine"])
        assert predictor.model.model.backbone.graph.session.get_session_options().intra_op_num_threads == 2
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("case", "tuning"),
    some_by_default([(case, tuning) for case in [*ENCODERS, NEXT_SENTENCE] for tuning in ("Full", "LoRA")], chosen=[9]),
    ids=str,
)
@pytest.mark.slow
def test_every_task(case: Case, tuning: str, tmp_path: Path) -> None:
    run = run_of(case, tmp_path, **(LORA if tuning == "LoRA" else {"model__tuning": tuning}))
    folder = export(run, tmp_path / "out")
    rows = rows_of(run)
    expected = ftlit.load(run)(rows, scores=True)
    assert_close(ftlit.load(folder)(rows, scores=True), expected)
    check_example(case[0], folder, rows, expected)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("method", some_by_default(list(METHODS), chosen=[]))
def test_every_method(method: str, finished: Finished, tmp_path: Path) -> None:
    """Merged where it merges; adapters and prompts are part of the graph."""
    folder = export(finished(method), tmp_path / "out")
    assert_close(ftlit.load(folder)(TEXTS, scores=True), ftlit.load(finished(method))(TEXTS, scores=True))


@pytest.mark.parametrize("architecture", some_by_default(list(ARCHITECTURES), chosen=[]))
@pytest.mark.parametrize("tuning", ["Full", "PromptTuning"])
def test_batches_and_lengths(architecture: str, tuning: str, tiny: Tiny, tmp_path: Path) -> None:
    """A graph takes any number of texts of any length, although its example has two of three tokens."""
    method = ftlit.PromptTuning(tokens=4) if tuning == "PromptTuning" else ftlit.Full()
    task = ftlit.TextClassification(backbone=tiny(architecture), tuning=method, label_names=["a", "b", "c"]).eval()
    torch.manual_seed(1)
    ids = torch.randint(4, 99, (3, 58))
    mask = (torch.arange(58) < torch.tensor([[58], [5], [31]])).long()
    whole = {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask}
    merge_if_possible(task)
    write_graph(task, stretched(whole, 1, 1), ["logits"], tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for rows, tokens in ((1, 1), (3, 1), (1, 7), (3, 7), (2, 58), (1, 58), (6, 11)):
        given = stretched(whole, rows, tokens)
        expected = outputs_of(task, given)["logits"]
        [found] = session.run(None, {name: value.numpy() for name, value in given.items()})
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "last", "attention"])
@pytest.mark.matrix
def test_pooling(pooling: Any, tiny: Tiny, tmp_path: Path) -> None:
    head = ftlit.PooledHead(pooling=pooling, layers=2)
    task = ftlit.TextClassification(backbone=tiny("bert"), head=head, label_names=["a", "b"]).eval()
    mask = (torch.arange(9) < torch.tensor([[9], [5]])).long()
    given = {"input_ids": torch.arange(18).view(2, 9) + 4, "attention_mask": mask}
    write_graph(task, given, ["logits"], tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for rows in (1, 2, 5):
        few = stretched(given, rows, 9)
        [found] = session.run(None, {name: value.numpy() for name, value in few.items()})
        torch.testing.assert_close(torch.from_numpy(found), outputs_of(task, few)["logits"], atol=1e-5, rtol=1e-5)


# What is refused


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    return refusal(args, capsys).removeprefix("error: ").strip()


def test_refusals(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    run = ["export", "--run", str(finished("LoRA")), *OUT, str(tmp_path / "out")]
    assert refused([*run, "--adapter-only"], capsys) == (
        "--format onnx writes the whole model, but --adapter-only its adapter alone; remove one of them"
    )
    assert refused([*run, "--dtype", "float16"], capsys) == (
        "--dtype float16 is for --format transformers; a graph of ONNX is written in float32"
    )
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxscript", None)
        assert "ONNX needs the package onnxscript, which is missing; install it with: pip install -e '.[onnx]'" in refused(
            run, capsys
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("no such operator"),
            "--format onnx: the exporter of PyTorch cannot follow BertForSequenceClassification",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "could not be written: no space left on device; make room there"),
    ],
)
def test_an_exporter_that_fails(
    error: Exception, said: str, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fails(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(torch.onnx, "export", fails)
    assert said in refused(["export", "--run", str(finished("LoRA")), *OUT, str(tmp_path / "out")], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_a_graph_that_gives_something_else_is_not_written(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(task: Any, *args: Any) -> None:
        with torch.no_grad():
            task.model.classifier.bias += 0.01
        write_graph(task, *args)

    monkeypatch.setattr("ftlit.exports.onnx.form.write_graph", other)
    said = refused(["export", "--run", str(finished("LoRA")), *OUT, str(tmp_path / "out")], capsys)
    assert said.startswith("the export differs from the run: logits in a process with onnxruntime alone by 0.01")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_graph(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    (folder / "model.onnx").write_bytes((exported / "model.onnx").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.onnx is damaged: .*; restore it from a copy, or make it again"):
        ftlit.load(folder)


def test_a_graph_is_no_backbone(exported: Path, tiny: Tiny) -> None:
    for given in ({"backbone": str(exported)}, {"backbone": tiny("bert"), "init_from": str(exported)}):
        with pytest.raises(
            UserError, match="is a graph of ONNX, whose weights cannot be trained; use the run from which it was"
        ):
            ftlit.TextClassification(**given, label_names=["bad", "good"])


def test_weights_of_4_bits(tiny: Tiny) -> None:
    task = ftlit.TextClassification(backbone=tiny("bert"), label_names=["bad", "good"])
    task.model.config.quantization_config = {"load_in_4bit": True}
    with pytest.raises(
        UserError, match=r"--format onnx has no weights of 4 bits as those of model\.tuning Full; use --adapter-only"
    ):
        check_traceable(task)

"""Programs of torch.export give what their runs gave: to PyTorch alone, and to `ftlit.load`; those of strangers run no code."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.exports import verify
from ftlit.exports.predict import predict
from ftlit.exports.program.graph import check_exportable, write_program
from ftlit.exports.program.runtime import Program
from ftlit.exports.program.safety import check_program
from ftlit.exports.traced.cases import outputs_of
from ftlit.exports.traced.tracing import merge_if_possible, stretched
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows
from tests.support.every_task import CASES, LORA, Case, run_of
from tests.support.graphs import assert_close, check_example, printed, rows_of
from tests.support.hostile import Exploit
from tests.support.models import ARCHITECTURES
from tests.support.runs import METHODS
from tests.support.speeds import some_by_default

Tiny = Callable[[str], str]
Finished = Callable[..., Path]
TEXTS = [row["text"] for row in sentiment_rows(12, 7)]
ENCODERS = [case for case in CASES if case[0] not in ("CausalLM", "Seq2Seq")]
OUT = ["--format", "torch", "--output"]


def export(run: Path, folder: Path, *options: str) -> Path:
    main(["export", "--run", str(run), *OUT, str(folder), *options])
    return folder


@pytest.fixture(scope="module")
def exported(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a run with LoRA; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "run_in_new_process", lambda work, module: module.main(work))
        return export(finished("LoRA"), tmp_path_factory.mktemp("torch") / "out")


def test_it_gives_the_predictions_of_the_run(exported: Path, finished: Finished, tmp_path: Path) -> None:
    expected = ftlit.load(finished("LoRA"), device="cpu")(TEXTS, scores=True)
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    predict(str(exported), str(tmp_path / "in.txt"), str(tmp_path / "out.jsonl"), scores=True, batch_size=5)
    assert_close([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], expected)


@pytest.mark.slow
def test_it_is_verified_in_a_process_without_ftlit(finished: Finished, tmp_path: Path) -> None:
    folder = export(finished("Full"), tmp_path / "out")
    assert json.loads((folder / "ftlit.json").read_text())["difference"] < 1e-5


@pytest.mark.slow
def test_the_example(exported: Path, finished: Finished) -> None:
    found = [row["prediction"] for row in ftlit.load(finished("LoRA"), device="cpu")(TEXTS)]
    assert ast.literal_eval(printed(exported, TEXTS, runtime="torch")[0]) == found
    assert (exported / "example.py").read_text() in (exported / "README.md").read_text()
    done = subprocess.run([sys.executable, "example.py"], cwd=exported, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout)[0] in ("bad", "good")


def test_contents(exported: Path) -> None:
    names = {"README.md", "config.json", "example.py", "ftlit.json", "ftlit_config.yaml", "model.pt2"}
    assert {file.name for file in exported.iterdir()} == names | {"tokenizer.json", "tokenizer_config.json"}
    about = json.loads((exported / "ftlit.json").read_text())
    assert (about["kind"], about["task"]["pretrained"], about["dtype"]) == ("torch", False, "float32")
    assert about["difference"] < 1e-5
    program = (exported / "model.pt2").read_bytes()
    assert b"site-packages" not in program  # no paths of the machine that made it
    assert b"lora" not in program.lower()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("case", "tuning"), [(case, tuning) for case in ENCODERS for tuning in ("Full", "LoRA")], ids=str)
@pytest.mark.slow
def test_every_task(case: Case, tuning: str, tmp_path: Path) -> None:
    run = run_of(case, tmp_path, **(LORA if tuning == "LoRA" else {"model__tuning": tuning}))
    folder = export(run, tmp_path / "out")
    rows = rows_of(run)
    expected = ftlit.load(run)(rows, scores=True)
    assert_close(ftlit.load(folder)(rows, scores=True), expected)
    check_example(case[0], folder, rows, expected, "torch")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("method", some_by_default(list(METHODS), chosen=[]))
def test_every_method(method: str, finished: Finished, tmp_path: Path) -> None:
    """Merged where it merges; adapters and prompts are part of the program."""
    folder = export(finished(method), tmp_path / "out")
    assert_close(ftlit.load(folder)(TEXTS, scores=True), ftlit.load(finished(method))(TEXTS, scores=True))


@pytest.mark.parametrize("architecture", some_by_default(list(ARCHITECTURES), chosen=[]))
@pytest.mark.parametrize("tuning", ["Full", "PromptTuning"])
def test_batches_and_lengths(architecture: str, tuning: str, tiny: Tiny, tmp_path: Path) -> None:
    """A program takes any number of texts of any length, although its example has two of three tokens."""
    method = ftlit.PromptTuning(tokens=4) if tuning == "PromptTuning" else ftlit.Full()
    task = ftlit.TextClassification(backbone=tiny(architecture), tuning=method, label_names=["a", "b", "c"]).eval()
    torch.manual_seed(1)
    ids = torch.randint(4, 99, (3, 58))
    mask = (torch.arange(58) < torch.tensor([[58], [5], [31]])).long()
    whole = {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask}
    merge_if_possible(task)
    write_program(task, stretched(whole, 1, 1), ["logits"], tmp_path)
    program = Program(tmp_path / "model.pt2")
    for rows, tokens in ((1, 1), (3, 1), (1, 7), (3, 7), (2, 58), (1, 58), (6, 11)):
        given = stretched(whole, rows, tokens)
        with torch.inference_mode():
            [found] = program(given)
        torch.testing.assert_close(found, outputs_of(task, given)["logits"], atol=1e-5, rtol=1e-5)


# What is refused


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    return refusal(args, capsys).removeprefix("error: ").strip()


def test_refusals(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["export", "--run", str(finished("LoRA")), *OUT, str(tmp_path / "out")]
    assert refused([*run, "--adapter-only"], capsys) == (
        "--format torch writes the whole model, but --adapter-only its adapter alone; remove one of them"
    )
    assert refused([*run, "--dtype", "float16"], capsys) == (
        "--dtype float16 is for --format transformers; a program of torch.export is written in float32"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_followed(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **options: Any) -> None:
        raise RuntimeError("data-dependent")

    monkeypatch.setattr(torch.export, "export", fails)
    assert refused(["export", "--run", str(finished("LoRA")), *OUT, str(tmp_path / "out")], capsys).startswith(
        "--format torch: PyTorch cannot follow BertForSequenceClassification with model.tuning LoRA; leave --format out"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_a_program_that_gives_something_else_is_not_written(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(task: Any, *args: Any) -> None:
        with torch.no_grad():
            task.model.classifier.bias += 0.01
        write_program(task, *args)

    monkeypatch.setattr("ftlit.exports.program.form.write_program", other)
    said = refused(["export", "--run", str(finished("LoRA")), *OUT, str(tmp_path / "out")], capsys)
    assert said.startswith("the export differs from the run: logits in a process with torch alone by 0.01")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["CausalLM", "Seq2Seq"])
@pytest.mark.slow
def test_tasks_that_write_texts(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = next(case for case in CASES if case[0] == task)
    said = refused(["export", "--run", str(run_of(case, tmp_path, **LORA)), *OUT, str(tmp_path / "out")], capsys)
    expected = f"--format torch writes one program from texts to scores, but {task} writes its answers token by token; "
    assert said.startswith(expected)


def test_weights_of_4_bits(tiny: Tiny) -> None:
    task = ftlit.TextClassification(backbone=tiny("bert"), label_names=["bad", "good"])
    task.model.config.quantization_config = {"load_in_4bit": True}
    with pytest.raises(UserError, match=r"--format torch has no weights of 4 bits as those of model\.tuning Full"):
        check_exportable(task)


def test_a_program_is_no_backbone(exported: Path, tiny: Tiny) -> None:
    for given in ({"backbone": str(exported)}, {"backbone": tiny("bert"), "init_from": str(exported)}):
        with pytest.raises(UserError, match=r"a program of torch\.export"):
            ftlit.TextClassification(**given, label_names=["bad", "good"])


def test_a_damaged_program(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    (folder / "model.pt2").write_bytes((exported / "model.pt2").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.pt2 is damaged: .*; restore it from a copy, or make it again"):
        ftlit.load(folder)


# Programs of strangers


def changed(source: Path, target: Path, change: Callable[[str, bytes], tuple[str, bytes]], **added: bytes) -> None:
    """Write a program with other parts: each is what `change` makes of its name and its content."""
    reader = PT2ArchiveReader(str(source))
    names = [name for name in reader.get_file_names() if not name.startswith((".data", "byteorder"))]
    parts = dict(change(name, reader.read_bytes(name)) for name in names)
    with PT2ArchiveWriter(str(target)) as writer:
        for name, content in {**parts, **added}.items():
            writer.write_bytes(name, content)


def pickled(mark: Path) -> bytes:
    place = mark.with_name("pickle")
    torch.save({"": Exploit(mark)}, place)
    return place.read_bytes()


def in_graph(old: str, new: str) -> Callable[[str, bytes], tuple[str, bytes]]:
    def change(name: str, content: bytes) -> tuple[str, bytes]:
        if name == "models/model.json":
            assert old.encode() in content
            return name, content.replace(old.encode(), new.encode(), 1)
        return name, content

    return change


LINEAR = '"target": "torch.ops.aten.linear.default"'
WAYS: dict[str, tuple[Callable[[str, bytes], tuple[str, bytes]], str]] = {
    "a function of PyTorch": (in_graph(LINEAR, '"target": "torch.hub.load"'), "holds target 'torch.hub.load'"),
    "a file": (in_graph(LINEAR, '"target": "torch.ops.aten.from_file.default"'), "holds target 'torch.ops.aten.from_file"),
    "a size": (in_graph('"expr_str": "Symbol(\'', '"expr_str": "print(1) or Symbol(\''), "holds expr_str"),
    "a check": (in_graph('"guards_code": []', '"guards_code": ["print(1)"]'), "holds guards_code"),
    "a form": (in_graph("builtins.dict", "evil.Tree"), "holds in_spec"),
    "an enum": (in_graph('\\"context\\": \\"[]\\"', '\\"context\\": \\"[{}]\\"'), "holds in_spec"),
    "a name": (in_graph('"name": "tensors_0"', '"name": "a=print(1)"'), "holds name"),
    "an object": (in_graph('"as_tensor"', '"as_custom_obj"'), "holds the argument as_custom_obj"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_could_run_code_is_refused(way: str, exported: Path, tmp_path: Path) -> None:
    change, said = WAYS[way]
    changed(exported / "model.pt2", tmp_path / "model.pt2", change)
    with pytest.raises(UserError, match="which is more than tensors and operators on them, and could run code") as refused:
        check_program(tmp_path / "model.pt2")
    assert said in str(refused.value)


@pytest.mark.parametrize("place", ["an example", "a weight", "an old weight", "a compiled library"])
def test_pickles_and_libraries_are_refused(place: str, exported: Path, tmp_path: Path) -> None:
    folder, mark = shutil.copytree(exported, tmp_path / "copy"), tmp_path / "mark"
    content = pickled(mark)

    def change(name: str, old: bytes) -> tuple[str, bytes]:
        if place == "an example" and name == "data/sample_inputs/model.pt":
            return name, content
        if place == "a weight" and name == "data/weights/weight_0":
            return name, content
        if place == "a weight" and name == "data/weights/model_weights_config.json":
            return name, old.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
        return name, old

    added = {"an old weight": "data/weights/model.pt", "a compiled library": "data/aotinductor/model/x.so"}
    changed(exported / "model.pt2", folder / "model.pt2", change, **({added[place]: content} if place in added else {}))
    with pytest.raises(UserError, match=r"could run code; if you trust it, add --trust_remote_code"):
        ftlit.load(folder)
    assert not mark.exists()


def test_a_trusted_program_opens(exported: Path, tmp_path: Path) -> None:
    """A file with more than a program opens where the user allows it."""
    folder = shutil.copytree(exported, tmp_path / "copy")
    changed(exported / "model.pt2", folder / "model.pt2", lambda *part: part, **{"extra/more.txt": b"more"})
    with pytest.raises(UserError, match=r"holds the part extra/more\.txt"):
        ftlit.load(folder)
    assert ftlit.load(folder, trust_remote_code=True)(TEXTS) == ftlit.load(exported)(TEXTS)

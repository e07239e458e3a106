"""Compressed forms of a run answer like the run, are measured beside it, and are kept only if they are good enough."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import ftlit
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.exports.compress import command, processor
from ftlit.exports.compress.evaluate import Evaluated, Judge, agreement
from ftlit.exports.compress.fallback import CarefulRounding, ranked
from ftlit.exports.compress.folders import Folders
from ftlit.exports.compress.graphs import layers_of, round_to_8_bits
from ftlit.exports.compress.int8 import Int8Embedding, Int8Linear, load_int8, rounded, save_int8
from ftlit.exports.compress.measure import Measured, Process
from ftlit.exports.compress.methods import chosen_methods, training_text
from ftlit.exports.compress.report import Ladder, card_section, document, text
from ftlit.exports.compress.rungs import rungs
from ftlit.exports.folder import stored_data
from ftlit.exports.predict import predict
from ftlit.exports.traced.cases import reference_cases
from ftlit.runs.checkpoint import find_checkpoint, load_task
from ftlit.runs.exported import trained_task
from ftlit.util.render.markdown import markdown
from ftlit.util.render.page import page
from tests.support.command_line import refusal
from tests.support.data import sentiment_rows
from tests.support.every_task import CASES, LORA, run_of

Tiny = Callable[[str], str]
Finished = Callable[..., Path]
TEXTS = [row["text"] for row in sentiment_rows(12, 7)]
METHODS = ("onnx", "onnx-int8", "onnx-int4", "bf16", "int8")


@pytest.fixture(scope="module")
def maker(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Makes the forms of a run, without fallbacks."""
    run = finished("Full")
    return Folders(run, find_checkpoint(run), tmp_path_factory.mktemp("forms"))


@pytest.fixture(scope="module")
def graph(maker: Folders) -> Path:
    """The graph of the run in float32."""
    return maker.make("onnx", round_to_8_bits)


@pytest.fixture(scope="module")
def forms(maker: Folders, graph: Path) -> dict[str, Path]:
    """The folder of each method; tests only read them."""
    return {"onnx": graph, **{name: maker.make(name, round_to_8_bits) for name in METHODS[1:]}}


def scores(folder: Path) -> list[float]:
    return [row["scores"]["good"] for row in ftlit.load(folder, device="cpu")(TEXTS, scores=True)]


# Weights of 8 bits


def test_rounding_errs_by_half_a_step_of_the_row() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.001, 0.002, -0.004], [0.0, 0.0, 0.0]])
    small, scale = rounded(weight)
    assert small.dtype == torch.int8
    assert small.abs().amax(1).tolist() == [127, 127, 0]
    assert ((small * scale[:, None] - weight).abs() <= scale[:, None] / 2 + 1e-9).all()


def test_a_layer_of_8_bits_multiplies_like_its_matrix() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32)
    inputs = torch.randn(2, 5, 64)
    found = Int8Linear(*rounded(linear.weight.detach()), linear.bias.detach())(inputs)
    expected = linear(inputs).detach()
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 0.02


def test_an_embedding_of_8_bits_looks_up() -> None:
    table = torch.randn(10, 4)
    ids = torch.tensor([[1, 9], [0, 1]])
    found = Int8Embedding(*rounded(table))(ids)
    torch.testing.assert_close(found, table[ids], atol=0.02, rtol=0)


class Tied(torch.nn.Module):
    """A model whose output layer is its embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner, self.output = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 9, bias=False)
        self.output.weight = self.table.weight


def test_shared_weights_stay_shared_and_precise(tmp_path: Path) -> None:
    model = Tied()
    save_int8(model, tmp_path)
    found = load_int8(Tied(), tmp_path)
    assert found.output.weight is found.table.weight
    assert torch.equal(found.table.weight, model.table.weight)
    assert type(found.inner) is Int8Linear


def test_damaged_weights_of_8_bits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no model_int8\.safetensors"):
        load_int8(Tied(), tmp_path)
    save_int8(torch.nn.Sequential(torch.nn.Linear(3, 3)), tmp_path)
    with pytest.raises(UserError, match="its weights do not belong to the model"):
        load_int8(Tied(), tmp_path)


# Folders


@pytest.mark.parametrize(
    ("method", "apart"), [("onnx", 1e-5), ("onnx-int8", 0.2), ("onnx-int4", 0.4), ("bf16", 0.05), ("int8", 0.2)]
)
def test_a_form_answers_like_the_run(method: str, apart: float, forms: dict[str, Path], finished: Finished) -> None:
    assert scores(forms[method]) == pytest.approx(scores(finished("Full")), abs=apart)


def test_the_rounded_forms_are_rounded(forms: dict[str, Path]) -> None:
    exact = scores(forms["onnx"])
    for method in METHODS[1:]:
        assert scores(forms[method]) != exact, method


def test_sizes(forms: dict[str, Path]) -> None:
    """Matrices and tables take a quarter; scales, biases and the names of nodes are much of a tiny model."""
    sizes = {name: (folder / "model.onnx").stat().st_size for name, folder in forms.items() if name.startswith("onnx")}
    assert sizes["onnx-int4"] != sizes["onnx-int8"] < sizes["onnx"]
    assert (forms["int8"] / "model_int8.safetensors").stat().st_size < 0.5 * sizes["onnx"]
    assert not (forms["int8"] / "model.safetensors").exists()


def test_predict_opens_a_form(forms: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    predict(str(forms["int8"]), str(tmp_path / "in.txt"), str(tmp_path / "out.jsonl"), scores=True)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["scores"]["good"] for row in lines] == scores(forms["int8"])


def test_metadata_and_cards(forms: dict[str, Path]) -> None:
    about = {name: json.loads((folder / "ftlit.json").read_text()) for name, folder in forms.items()}
    assert [about[name]["dtype"] for name in METHODS] == ["float32", "int8", "int4", "bfloat16", "int8"]
    assert [about[name]["kind"] for name in METHODS] == ["onnx", "onnx", "onnx", "model", "int8"]
    for name in METHODS:
        weights = re.search(r"\| weights +\| (\w+)", (forms[name] / "README.md").read_text())
        assert weights is not None
        assert weights[1] == about[name]["dtype"]


def test_16_bits_compute_in_16_bits_where_the_processor_can(
    maker: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Folders(maker.run_dir, maker.checkpoint, tmp_path, exported=maker.exported)
    for able, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("ftlit.exports.compress.folders.computes_in", lambda dtype, able=able: able)
        folder = other.make("bf16", round_to_8_bits)
        assert next(ftlit.load(folder, device="cpu").model.model.parameters()).dtype == expected
        shutil.rmtree(folder)


def test_forms_cannot_be_trained(forms: dict[str, Path]) -> None:
    for name, said in (("int8", "holds weights of 8 bits"), ("onnx", "holds a graph of ONNX")):
        with pytest.raises(UserError, match=f"{said}, which only predicts; name the run"):
            trained_task(forms[name])


# Layers that fall back


def test_layers_have_the_names_of_the_model(graph: Path) -> None:
    names = list(layers_of(graph / "model.onnx").values())
    assert names[0].endswith("word_embeddings")
    assert any(name.endswith("encoder.layer.0.attention.self.query") for name in names), names
    assert any(name.endswith("layer.1.output.dense") for name in names)
    assert len(names) == len(set(names))


def spoiled(graph: Path, to: Path, layer: str) -> Path:
    """A copy of a graph, one of whose layers has a single large weight in each column, which rounding cannot stand."""
    import onnx

    folder = shutil.copytree(graph, to)
    model = onnx.load(folder / "model.onnx")
    names = {name: node for node, name in layers_of(folder / "model.onnx").items()}
    [node] = [node for node in model.graph.node if node.name == names[layer]]
    [weight] = [weight for weight in model.graph.initializer if weight.name == node.input[1]]
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] = 60.0
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, folder / "model.onnx")
    return folder


def test_the_most_damaging_layer_falls_back_first(graph: Path, finished: Finished, tmp_path: Path) -> None:
    layers = {name: node for node, name in layers_of(graph / "model.onnx").items()}
    layer = next(name for name in layers if name.endswith("layer.1.output.dense"))
    source = spoiled(graph, tmp_path / "spoiled", layer)
    path = find_checkpoint(finished("Full"))
    inputs = reference_cases(load_task(path), stored_data(path)).inputs[0]
    some = [layers[name] for name in layers if "layer.1" in name]
    assert ranked(source, some, inputs)[0] == layers[layer]
    asked: list[Path] = []

    def third(folder: Path) -> bool:
        asked.append(folder)
        return len(asked) == 3

    target = shutil.copytree(source, tmp_path / "target")
    rounding = CarefulRounding(third, inputs)
    rounding(source, target)
    assert rounding.kept[0] == layer
    assert len(rounding.kept) == 2
    left = list(layers_of(target / "model.onnx").values())
    assert set(rounding.kept) == {name for name in left if name in layers}


def test_no_layer_falls_back_without_need(graph: Path, tmp_path: Path) -> None:
    rounding = CarefulRounding(lambda folder: True, {})
    rounding(graph, shutil.copytree(graph, tmp_path / "target"))
    assert rounding.kept == []


# Judging


def evaluated(right: int, wrong: int, **metrics: float) -> Evaluated:
    rows = [{"id": str(i), "label": "a", "prediction": "a" if i < right else "b"} for i in range(right + wrong)]
    return Evaluated({"accuracy": right / (right + wrong), **metrics}, rows)


def test_loss_of_a_share_and_of_another_metric() -> None:
    one, other = evaluated(9, 1, perplexity=8.0), evaluated(8, 2, perplexity=10.0)
    accuracy = Judge("accuracy", True, "labels", {})
    assert accuracy.difference(one, other) == pytest.approx(-0.1)
    assert accuracy.loss(one, other) == pytest.approx(0.1)
    assert Judge("perplexity", False, None, {}).loss(one, other) == pytest.approx(0.25)
    assert agreement("labels", one.rows, other.rows) == pytest.approx(0.9)


def test_agreement_by_kind() -> None:
    one = [{"prediction": ["B", "O"], "label": ["B", "O"]}]
    assert agreement("tags", one, [{"prediction": ["B", "B"], "label": ["B", "O"]}]) == 0.5
    assert agreement("labels", one, [{"prediction": ["B"], "label": ["B", "O"]}]) == 0.0
    assert agreement("values", [{"prediction": 1.0}], [{"prediction": 1.0}]) is None


def ladder(max_drop: float | None, right: int) -> Ladder:
    one, other = evaluated(90, 10), evaluated(right, 100 - right)
    costs = {name: Measured(10**6, {1: [1.0, 2.0, 3.0], 8: [4.0] * 3, 32: [9.0] * 3}, {1: 9.0, 8: 99.0, 32: 50.0}, found)
             for name, found in (("original", one), ("onnx-int8", other))}  # fmt: skip
    judge = Judge("accuracy", True, "labels", {})
    found = rungs(costs, {"original": 1000, "onnx-int8": 250}, judge, max_drop, ["a.layer"])
    machine = {"processor": "P", "cores": 2, "threads": 1, "instructions": ["avx2"]}
    return Ladder("x", "TextClassification", "accuracy", True, "test", 100, 32, max_drop, machine, {}, found)


def test_a_rung_passes_by_its_estimate() -> None:
    assert [rung.passes for rung in ladder(0.05, 85).rungs] == [True, True]
    assert [rung.passes for rung in ladder(0.04, 85).rungs] == [True, False]
    assert ladder(None, 1).rungs[1].passes
    low, high = ladder(0.05, 85).rungs[1].interval or (0, 0)
    assert low < -0.05 < high < 0.01


def test_reports() -> None:
    found = ladder(0.04, 85)
    said = text(found)
    for part in ("25%", "95.0%", "−0.05", "refused", "onnx-int8 keeps float32 in a.layer", "1 / 2 / 3", "99"):
        assert part in said, part
    assert "no instructions for sums of 8 bits" in said
    html = page(document(found))
    assert html.count("<svg") == 1
    assert "onnx-int8" in html
    assert "| onnx-int8 | 250 B |" in markdown(document(found))
    assert "## Compression" in card_section(found, "onnx-int8")
    record = json.loads(json.dumps(found.record()))
    assert record["rungs"][1]["float32_layers"] == ["a.layer"]
    assert record["rungs"][1]["latency_ms"]["1"] == {"p50": 1.0, "p95": 2.0, "p99": 3.0}


def test_the_instructions_of_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: X\nflags\t\t: fpu avx2 avx512_vnni amx_int8 avx512_fp16\n")
    monkeypatch.setattr("ftlit.util.machine.CPUINFO", file)
    assert processor.instructions() == ["avx2", "avx512_vnni", "avx512_fp16", "amx_int8"]
    assert processor.computes_in("float16")
    file.write_text("Features\t: fp asimd asimddp\n")
    assert processor.instructions() == ["asimddp"]
    assert not processor.computes_in("float16")


# The command


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    return refusal(["compress", *args], capsys).removeprefix("error: ").strip()


def test_names_of_methods(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--run", str(finished("Full")), "--output", str(tmp_path / "out")]
    assert refused([*run, "--method", "onxx-int8"], capsys) == "there is no --method 'onxx-int8'. Did you mean 'onnx-int8'?"
    assert "--max_drop must be at least 0, got -1" in refused([*run, "--method", "onnx", "--max_drop", "-1"], capsys)
    assert "--rows must be at least 32, got 3" in refused([*run, "--method", "onnx", "--rows", "3"], capsys)
    assert "--split must be test or validation, got 'train'" in refused([*run, "--method", "onnx", "--split", "train"], capsys)
    assert list(tmp_path.iterdir()) == []
    assert chosen_methods(["original", "onnx", "onnx"]) == ["onnx"]


def test_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "holds no run: it has no config.yaml" in refused(["--run", str(tmp_path), "--method", "onnx"], capsys)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        said = refused(["--run", str(tmp_path), "--method", "onnx"], capsys)
    assert said.startswith("ONNX needs the package onnxruntime, which is missing; install it with: pip install -e '.[onnx]'")


def test_a_folder_that_is_no_compression_stays(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    args = ["--run", str(finished("Full")), "--method", "onnx", "--overwrite", "--output", str(tmp_path)]
    assert "is not empty and not a compression; choose another folder" in refused(args, capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("method", ["distil", "drop-layers"])
def test_trainings_are_printed(method: str, finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished("Full")
    capsys.readouterr()
    main(["compress", "--run", str(run), "--method", method])
    said = capsys.readouterr().out
    assert said.strip() == training_text(method, run)
    assert "fit --config" in said
    assert ("--model.teacher" in said) == (method == "distil")


def test_a_worker_that_dies(tmp_path: Path) -> None:
    class Silent(Process):
        def __init__(self) -> None:
            import subprocess

            self.work = tmp_path
            (tmp_path / "errors.txt").write_text("Traceback\nMemoryError")
            self.process = subprocess.Popen(
                [sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )

    worker = Silent()
    with pytest.raises(UserError, match="a process that measures has failed: MemoryError"):
        worker.ask("resident")
    worker.end()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_ladder(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = finished("Full"), tmp_path / "out"
    args = ["compress", "--run", str(run), "--output", str(out), "--rows", "32", "--max_drop", "0.2"]
    methods = [part for name in (*METHODS, "fp16") for part in ("--method", name)]
    main([*args, *methods])
    said = capsys.readouterr().out
    assert "wrote" in said
    record = json.loads((out / "compression.json").read_text())
    assert [rung["method"] for rung in record["rungs"]] == ["original", *METHODS, "fp16"]
    assert record["split"] == "test"
    by_name = {rung["method"]: rung for rung in record["rungs"]}
    assert by_name["onnx"]["agreement"] == 1.0
    assert by_name["original"]["metric"] == pytest.approx(ftlit.open_run(run).results["test"]["accuracy"], abs=1e-6)
    assert all(rung["resident_bytes"] > 10**8 for rung in record["rungs"])
    for name in (name for name, rung in by_name.items() if rung["passes"] and name != "original"):
        assert len(ftlit.load(out / name)(TEXTS)) == len(TEXTS)
        assert "## Compression" in (out / name / "README.md").read_text()
        assert [rung["method"] for rung in json.loads((out / name / "compression.json").read_text())["rungs"]] == [
            "original",
            name,
        ]
    assert {file.name for file in tmp_path.iterdir()} == {"out"}
    assert "is an earlier compression; replace it with --overwrite" in refused([*args[1:], *methods], capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_drop_that_is_too_large(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "loss", lambda self, one, other: 0.0 if one is other else 0.5)
    args = ["--run", str(finished("Full")), "--output", str(tmp_path / "out"), "--rows", "32", "--method", "bf16"]
    said = refused([*args, "--max_drop", "0.1"], capsys)
    assert said.startswith("no form loses at most 0.1 of accuracy: bf16 loses 0.5000; raise --max_drop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ["TextRegression", "TokenClassification", "QuestionAnswering", "MaskedLM", "Seq2Seq"])
def test_other_tasks(name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case[0] == name)
    run = run_of(case, tmp_path, **LORA)
    methods = ["bf16", "int8"] if name == "Seq2Seq" else ["onnx-int8", "bf16", "int8"]
    command.compress(str(run), methods, str(tmp_path / "out"), max_drop=None, rows=32, split="validation")
    record = json.loads((tmp_path / "out/compression.json").read_text())
    assert [rung["passes"] for rung in record["rungs"]] == [True] * (1 + len(methods))
    if name != "TextRegression":  # whose correlation is NaN where a tiny model predicts one number
        assert all(np.isfinite(rung["metric"]) for rung in record["rungs"])


@pytest.mark.slow
def test_a_task_that_writes_texts_has_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(next(case for case in CASES if case[0] == "Seq2Seq"), tmp_path, **LORA)
    said = refused(["--run", str(run), "--method", "onnx", "--output", str(tmp_path / "out")], capsys)
    assert said.startswith(
        "--method onnx cannot be made: Seq2Seq writes texts token by token, and graphs that do are not compressed"
    )
    assert said.split("\n")[0].endswith("; choose another method")
    assert not (tmp_path / "out").exists()

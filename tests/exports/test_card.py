"""Model cards: metadata that the hub reads, and sentences that hold for the run's own data."""

import contextlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

import ftlit
from ftlit.exports.card.card import model_card, with_measurements
from ftlit.exports.card.limits import limits_section
from ftlit.exports.card.metadata import backbone_card, license_of, metadata
from ftlit.exports.card.subject import Subject
from ftlit.exports.card.use import example_row
from ftlit.exports.export import Export, is_best
from ftlit.exports.folder import stored_data
from ftlit.runs.checkpoint import find_checkpoint, load_task
from tests.support.every_task import CASES, Case, run_of
from tests.support.written_hub import problems

Finished = Callable[..., Path]


def subject_of(run: Path, kind: Any = "model", **given: Any) -> Subject:
    path = find_checkpoint(run)
    return Subject(run, load_task(path).eval(), stored_data(path), **{"kind": kind, "dtype": "float32", **given})


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a finished run in which parts of run.json, results.json or test_report.json are others."""

    def make(**changes: dict[str, Any]) -> Path:
        folder = tmp_path / "copied"
        shutil.copytree(finished("Full"), folder)
        for name, change in changes.items():
            content = json.loads((folder / f"{name}.json").read_text())
            (folder / f"{name}.json").write_text(json.dumps(merged(content, change)))
        return folder

    return make


def merged(one: Any, other: Any) -> Any:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return {**one, **{key: merged(one.get(key), value) for key, value in other.items()}}


# Metadata


def test_the_hub_reads_the_results_of_the_run(finished: Finished) -> None:
    run = finished("Full")
    text = model_card(subject_of(run))
    assert problems(text) == []
    card = ModelCard(text)
    data: Any = card.data
    assert ModelCardData(**data.to_dict()).to_dict() == data.to_dict()
    assert ModelCard(card.content).data.to_dict() == data.to_dict()
    results = json.loads((run / "results.json").read_text())
    found = {(result.dataset_split, result.metric_name): result.metric_value for result in data.eval_results}
    expected = {(s, name): v for s in ("test", "validation") for name, v in results[s].items() if name != "loss"}
    assert found == pytest.approx(expected, abs=1e-6)
    kinds = {result.metric_name: result.metric_type for result in data.eval_results}
    assert {kinds[name] for name in ("f1_macro", "mcc", "auroc")} == {"f1", "matthews_correlation", "roc_auc"}
    assert data.metrics[0] == "accuracy"
    assert (data.pipeline_tag, data.library_name) == ("text-classification", "transformers")
    assert data.tags == ["ftlit", "TextClassification", "Full"]
    assert "base_model" not in data.to_dict()  # a folder


@pytest.mark.parametrize(
    ("kind", "dtype", "relation", "library"),
    [
        ("model", "float32", "finetune", "transformers"),
        ("adapter", "float32", "adapter", "peft"),
        ("onnx", "float32", "finetune", "onnx"),
        ("onnx", "int4", "quantized", "onnx"),
        ("int8", "int8", "quantized", "ftlit"),
    ],
)
def test_names_on_the_hub(kind: str, dtype: str, relation: str, library: str, copied: Callable[..., Path]) -> None:
    run = copied(run={"data_commit": "c" * 40, "backbone": "tiny/bert"})
    subject = subject_of(run, kind, dtype=dtype)
    subject.task.hparams["backbone"] = "tiny/bert"
    subject.data.dataset = "tiny/sentiment"
    found: Any = metadata(subject)
    assert found.to_dict()["base_model"] == "tiny/bert"
    assert found.to_dict()["base_model_relation"] == relation
    assert found.library_name == library
    assert found.datasets == ["tiny/sentiment"]
    result = found.eval_results[0]
    assert (result.dataset_type, result.dataset_revision, result.dataset_split) == ("tiny/sentiment", "c" * 40, "test")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("license: mit", {"license": "mit"}),
        ("license: other\nlicense_name: own\nlicense_link: https://x.org/a", None),
        ("license: other\nlicense_name: own\nlicense_link: LICENSE", {"license": "other", "license_name": "own"}),
        ("license: [mit]", {}),
        ("license: 'Free for all!'", {}),
        ("license: mit\nmodel-index: 3", {"license": "mit"}),
        ("license: {", {}),
        ("- mit", {}),
    ],
)
def test_the_license_is_that_of_the_backbone(head: str, expected: dict[str, str] | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# A model\n")
    whole = {"license": "other", "license_name": "own", "license_link": "https://x.org/a"}
    assert license_of(backbone_card("x", str(tmp_path))) == (whole if expected is None else expected)


def test_a_backbone_without_a_card(tmp_path: Path) -> None:
    assert backbone_card("x", str(tmp_path)) == backbone_card("tiny/never-loaded", "tiny/never-loaded") == {}
    (tmp_path / "README.md").write_bytes(b"---\n\xff\n---\n")
    assert backbone_card("x", str(tmp_path)) == {}


def test_the_language_is_the_only_one_of_the_backbone(finished: Finished, tmp_path: Path) -> None:
    subject = subject_of(finished("Full"))
    assert subject.base_on_hub is None
    for known, expected in {"language: en": ["en"], "language: [en, de]": None, "language: English": None}.items():
        (tmp_path / "README.md").write_text(f"---\n{known}\n---\n")
        subject.task.hparams["backbone"] = str(tmp_path)
        vars(subject).pop("base", None)
        assert metadata(subject).language == expected  # type: ignore[attr-defined]


# Other weights than those that were evaluated


def test_another_checkpoint_has_no_results(finished: Finished) -> None:
    run = finished("Full")
    assert is_best(run, find_checkpoint(run))
    assert not is_best(run, run / "checkpoints/last.ckpt")
    text = model_card(subject_of(run, best=False))
    assert "model-index" not in ModelCard(text).data.to_dict()
    assert "The run evaluated its best checkpoint, but the weights of this folder are those of another one." in text
    assert "have not been evaluated" in text
    assert f"{json.loads((run / 'results.json').read_text())['validation']['accuracy']:.4f}" not in text


def test_a_compressed_form_has_its_own_results(finished: Finished) -> None:
    subject = subject_of(finished("Full"), "onnx", dtype="int8")
    before = model_card(subject)
    text = with_measurements(before, subject, "validation", {"accuracy": 0.25, "loss": 1.0}, "## Compression\n\n8 bits")
    data: Any = ModelCard(text).data
    found = [(result.dataset_split, result.metric_name, result.metric_value) for result in data.eval_results]
    assert found == [("validation", "accuracy", 0.25)]
    assert text.index("## Results") < text.index("## Compression") < text.index("## Limits")
    assert text.count("## Use") == 1
    assert problems(text) == []


# Limits


def test_limits_are_those_of_the_run(copied: Callable[..., Path]) -> None:
    splits = {
        "train": {"labels": {"good": 80, "bad": 3}, "truncated": 0.25},
        "test": {"truncated": 0.5, "lengths": {"text": {"unknown": 0.07}}},
    }
    overlap, sentence = {"test": {"exact": 4, "near": 2}}, "test: label 'bad' is *rare*"
    scores = [
        {"label": "bad", "precision": 1.0, "recall": 0.1, "f1": 0.2, "support": 10},
        {"label": "good", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 27},
    ]
    run = copied(
        run={"data": {"splits": splits, "overlap": overlap, "warnings": [sentence]}},
        results={"intervals": {"test": {"accuracy": [0.7, 0.9]}}, "baseline": {"test": {"accuracy": 0.55}}},
        test_report={"per_class": scores, "confusion": [[1, 9], [0, 27]], "labels": ["bad", "good"]},
    )
    said = limits_section(subject_of(run))
    for expected in (
        "Trained on 83 rows of `sentiment0` and evaluated on 37 rows of test",
        "With 37 rows of test, accuracy is known to lie between 0.7000 and 0.9000 (95%).",
        "A baseline that reads no text has accuracy 0.5500 on test.",
        "Inputs are cut after 64 tokens; of the examples of the run, 25% of train and 50% of test were longer.",
        "The run does not record the language of its texts.",
        "Up to 7% of the tokens of a column are unknown to the tokenizer.",
        "Labels with fewer than 20 rows of train: `bad` (3).",
        "Lowest F1 on test: `bad` 0.200 (10 rows).",
        "Most frequent confusions on test: `bad` taken for `good` in 9 of 10 rows.",
        "Rows of test that are in train, too: 4 exactly, 2 nearly.",
        r"test: label 'bad' is \*rare\*",
    ):
        assert f"- {expected}" in said
    assert len(said.splitlines()) == 2 + 11


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[5, 0], [0, 5]], None),
        ({"true": [0, 0, 1], "predicted": [0, 1, 1], "count": [2, 6, 9]}, "`bad` taken for `good` in 6 of 8 rows"),
        ([[[9, 1], [3, 1]], [[9, 0], [0, 4]]], "`bad` missed in 3 of 4 rows"),
    ],
)
def test_confusions(confusion: Any, expected: str | None, copied: Callable[..., Path]) -> None:
    run = copied(test_report={"confusion": confusion, "labels": ["bad", "good"]})
    said = limits_section(subject_of(run))
    assert ("Most frequent confusions" in said) == (expected is not None)
    assert (expected or "") in said


def test_without_test_the_results_are_too_good(copied: Callable[..., Path]) -> None:
    run = copied()
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({"validation": results["validation"]}))
    assert "There are no results on test. Those on validation chose the checkpoint" in limits_section(subject_of(run))


def test_cards_name_no_folder_of_this_machine(finished: Finished) -> None:
    run = finished("LoRA")
    text = model_card(subject_of(run))
    record = json.loads((run / "run.json").read_text())
    assert Path(record["backbone"]).is_dir()
    assert str(Path(record["backbone"]).parent) not in text
    assert str(run.parent) not in text


# Programs


def programs(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)


def output_of(program: str, folder: Path) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(program.replace("this/folder", str(folder)), {})
    return out.getvalue()


def check_programs(run: Path, root: Path) -> list[str]:
    """What the programs of a card print."""
    Export(run, find_checkpoint(run), root, "float32").write(adapter_only=False)
    folder = root / "folder"
    text = (folder / "README.md").read_text()
    row = json.loads(shlex.split(next(line for line in text.splitlines() if "curl" in line))[3])
    assert row == example_row(subject_of(run))
    assert ftlit.load(run, device="cpu")([row])[0]["prediction"] is not None
    return [output_of(program, folder) for program in programs(text)]


@pytest.mark.usefixtures("in_process")
def test_programs_give_the_prediction_of_the_run(finished: Finished, tmp_path: Path) -> None:
    run = finished("Full")
    library, own = check_programs(run, tmp_path)
    expected = ftlit.load(run, device="cpu")(["some text"])[0]["prediction"]
    assert f"'label': '{expected}'" in library
    assert f"'prediction': '{expected}'" in own


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_programs_of_every_task(case: Case, tmp_path: Path) -> None:
    outputs = check_programs(run_of(case, tmp_path), tmp_path)
    assert len(outputs) == 2
    assert all(outputs)

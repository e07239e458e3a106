"""Exported folders give what their runs gave: to transformers and peft alone, and to `ftlit.load`."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline

import ftlit
from ftlit.__main__ import main
from ftlit.commands.errors_in_words import with_explicit_flags
from ftlit.data.relation_extraction import marked
from ftlit.errors import UserError
from ftlit.exports import merge, verify, verify_script
from ftlit.exports.predict import predict
from ftlit.runs.checkpoint import find_checkpoint, load_task
from tests.support.chats import chat_model, echoes
from tests.support.command_line import refusal
from tests.support.data import relation_rows, sentiment_rows, write_splits
from tests.support.questions import question_rows, question_splits
from tests.support.runs import fitted
from tests.support.speeds import some_by_default
from tests.support.tagged import letters_model, tagged_rows, tagged_splits

Tiny = Callable[[str], str]
Finished = Callable[..., Path]
TEXTS = [row["text"] for row in sentiment_rows(12, 7)]
MERGED = ["Full", "LoRA", *(pytest.param(method, marks=pytest.mark.slow) for method in ("BitFit", "IA3"))]
ADAPTERS = [
    *("LoRA", "PromptTuning"),
    *(pytest.param(method, marks=pytest.mark.slow) for method in ("IA3", "PrefixTuning", "PiSSA", "AdaLoRA", "PTuning")),
]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The folder of a run of six steps, which is made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("export"), {}

    def make(name: str, task: str, **options: Any) -> Path:
        if name not in made:
            given = {"trainer__max_steps": 6, "data__limit_train": 24, **options}
            made[name] = fitted(root / name, task, **given)
        return made[name]

    return make


def export(run: Path, folder: Path, *options: str) -> Path:
    main(["export", "--run", str(run), "--output", str(folder), *options])
    return folder


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence of a command that must fail."""
    return refusal(args, capsys).removeprefix("error: ").strip()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("method", MERGED)
def test_pipeline_gives_the_predictions_of_the_run(method: str, finished: Finished, tmp_path: Path) -> None:
    run = finished(method)
    folder = export(run, tmp_path / "out")
    given = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)(TEXTS)
    expected = ftlit.load(run, device="cpu")(TEXTS, scores=True)
    for found, row in zip(given, expected, strict=True):
        assert {part["label"]: part["score"] for part in found} == pytest.approx(row["scores"], abs=1e-5)
        assert found[0]["label"] == row["prediction"]
    again = ftlit.load(folder, device="cpu")(TEXTS, scores=True)
    assert [row["prediction"] for row in again] == [row["prediction"] for row in expected]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("method", ADAPTERS)
def test_adapter(method: str, finished: Finished, tmp_path: Path, tiny: Tiny) -> None:
    from peft import PeftModel

    run = finished(method)
    folder = export(run, tmp_path / "out", "--adapter-only")
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny("bert")), str(folder)).eval()
    task = load_task(find_checkpoint(run)).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    del tokens["token_type_ids"]
    with torch.no_grad():
        expected = task.backbone(**tokens).last_hidden_state
        found = model(**tokens).last_hidden_state[:, -expected.shape[1] :]
        before = AutoModel.from_pretrained(tiny("bert"))(**tokens).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found - before).abs().max() > 1e-3
    for exported, own in zip(*(ftlit.load(place)(TEXTS, scores=True) for place in (folder, run)), strict=True):
        assert exported["prediction"] == own["prediction"]
        assert exported["scores"] == pytest.approx(own["scores"], abs=1e-6)  # vectors of PTuning are made once, not each time


# Other tasks and heads


@pytest.mark.usefixtures("in_process")
def test_token_pipeline_gives_the_tags_of_the_run(short: Finished, tiny: Tiny, tmp_path: Path) -> None:
    data = {"data__dataset": write_splits(tmp_path / "data", tagged_splits())}
    backbone = {"model__backbone": letters_model(tiny("bert"), tmp_path / "letters"), "model__tuning": "LoRA"}
    run = short("tags", "TokenClassification", **backbone, **data)
    folder = export(run, tmp_path / "out")
    tagger = pipeline("token-classification", model=str(folder), device="cpu", ignore_labels=[])
    rows = tagged_rows(9, 5)
    for row, expected in zip(rows, ftlit.load(run)(rows), strict=True):
        found = {part["start"]: part["entity"] for part in tagger(" ".join(row["tokens"]))}
        starts = [sum(len(word) + 1 for word in row["tokens"][:i]) for i in range(len(row["tokens"]))]
        assert len(expected["tags"]) == len(starts)
        assert [found[start] for start in starts] == expected["tags"]


@pytest.mark.parametrize("pooling", some_by_default(["mean", "attention", "cls", "last", "max"], chosen=[0]))
@pytest.mark.slow
def test_own_head(pooling: str, short: Finished, tiny: Tiny, sentiment: str, tmp_path: Path) -> None:
    """With the head's code, pipelines give the answers of the run; without it, they refuse the folder."""
    given = {"model__backbone": tiny("bert"), "model__tuning": "LoRA", "data__dataset": sentiment}
    head = {"model__head": "PooledHead", "model__head__pooling": pooling, "model__head__layers": 2}
    run = short(f"pooled {pooling}", "TextClassification", **given, **head)
    folder = export(run, tmp_path / "out")
    expected = ftlit.load(run)(TEXTS, scores=True)
    for name in ("pipeline", "AutoModel", "AutoModelForSequenceClassification", "AutoConfig"):
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            pipeline("text-classification", model=str(folder)) if name == "pipeline" else getattr(
                transformers, name
            ).from_pretrained(folder)
    classifier = pipeline("text-classification", model=str(folder), device="cpu", top_k=None, trust_remote_code=True)
    for found, row in zip(classifier(TEXTS, batch_size=4), expected, strict=True):
        assert {part["label"]: part["score"] for part in found} == pytest.approx(row["scores"], abs=1e-5)
    moved = folder.rename(tmp_path / "moved")
    again = ftlit.load(moved)(TEXTS, scores=True)
    assert [row["score"] for row in again] == pytest.approx([row["score"] for row in expected], abs=1e-5)
    assert not re.search(r"^(import|from) ftlit", (moved / "modeling_ftlit.py").read_text(), re.MULTILINE)
    assert not (moved / "head.safetensors").exists()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("head", some_by_default(["TaskHead", "PooledHead"], chosen=[0]))
def test_a_regression_in_its_own_unit(head: str, short: Finished, tiny: Tiny, grades: str, tmp_path: Path) -> None:
    data = {"data__dataset": grades, "data__label": "score", "data__text_pair": "other"}
    run = short(f"grades {head}", "TextRegression", model__backbone=tiny("bert"), model__head=head, **data)
    folder = export(run, tmp_path / "out")
    rows = [{"text": text, "other": text} for text in TEXTS]
    expected = [row["prediction"] for row in ftlit.load(run)(rows)]
    scorer = pipeline("text-classification", model=str(folder), device="cpu", trust_remote_code=head == "PooledHead")
    found = [scorer({"text": row["text"], "text_pair": row["other"]})["score"] for row in rows]
    assert found == pytest.approx(expected, abs=1e-4)
    assert [row["prediction"] for row in ftlit.load(folder)(rows)] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("head", "adapter"), some_by_default([("EntityHead", True), ("TaskHead", False), ("EntityHead", False)], chosen=[2])
)
def test_markers(
    head: str, adapter: bool, short: Finished, tiny: Tiny, relations: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that the data added are in the tokenizer and in an ordinary table of embeddings; the folder can move."""
    if not adapter:
        monkeypatch.setattr(verify, "run_in_new_process", verify_script.main)
    given = {"model__backbone": tiny("bert"), "model__tuning": "LoRA", "model__head": head, "data__dataset": relations}
    run = short(head, "RelationExtraction", **given)
    export(run, tmp_path / "out", *(["--adapter-only"] if adapter else []))
    folder = (tmp_path / "out").rename(tmp_path / "moved")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_tokens_to_ids(["[E1]", "[/E1]", "[E2]", "[/E2]"]) == [100, 101, 102, 103]
    extra = load_task(find_checkpoint(run)).backbone.get_input_embeddings().extra
    if adapter:
        rows = load_file(folder / "head.safetensors")["backbone.embeddings.word_embeddings.extra"]
    else:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=head == "EntityHead")
        assert model.get_input_embeddings().num_embeddings == 104
        rows = model.get_input_embeddings().weight[100:]
    assert torch.equal(rows, extra)
    new = [{key: row[key] for key in ("text", "head", "tail")} for row in relation_rows(11, 5)]
    found, expected = (ftlit.load(place)(new, scores=True) for place in (folder, run))
    if not adapter:
        marks = [marked(*row.values()) for row in new]
        shown = pipeline("text-classification", model=str(folder), device="cpu", trust_remote_code=True)(marks)
        assert [row["label"] for row in shown] == [row["prediction"] for row in expected]
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-5)


@pytest.fixture
def chat(short: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of replies with LoRA, whose template the tokenizer lacks."""
    root = tmp_path_factory.mktemp("chat")
    sizes = {"train": 40, "validation": 9, "test": 7}
    rows = write_splits(root / "rows", {split: echoes(count, i) for i, (split, count) in enumerate(sizes.items())})
    data = {"dataset": rows, "prompt": "question", "response": "answer", "template": "chatml", "max_length": 128}
    given = {"data": "ChatData", "model__backbone": chat_model(root / "llama"), "model__tuning": "LoRA", "model__samples": 0}
    settings = {"model__generation__max_new_tokens": 12, "model__generation__no_repeat_ngram_size": 3}
    return short("chat", "CausalLM", **given, **settings, **{f"data__{key}": value for key, value in data.items()})


@pytest.mark.usefixtures("in_process")
def test_language_model_writes_the_same_text(chat: Path, tmp_path: Path) -> None:
    """With transformers alone, by the template, the end of replies and the settings that the folder itself has."""
    folder = export(chat, tmp_path / "out")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    requests, written = [row["question"] for row in echoes(5, 9)], []
    for text in requests:
        asked = [{"role": "user", "content": text}]
        inputs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        found = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        written.append(tokenizer.decode(found, skip_special_tokens=True).strip())
    for place in (chat, folder):
        assert [row["prediction"] for row in ftlit.load(place)(requests)] == written
    assert len(set(written)) > 1


@pytest.mark.usefixtures("in_process")
def test_language_model_as_adapter(chat: Path, tmp_path: Path) -> None:
    folder = export(chat, tmp_path / "out", "--adapter-only")
    requests = [row["question"] for row in echoes(5, 9)]
    assert ftlit.load(folder)(requests) == ftlit.load(chat)(requests)


@pytest.mark.usefixtures("in_process")
def test_updates_of_tied_embeddings(short: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """They act on the input, and not on the output that shares its weights with it."""
    sizes = {"train": 24, "validation": 9, "test": 7}
    rows = write_splits(tmp_path / "rows", {split: echoes(count, i) for i, (split, count) in enumerate(sizes.items())})
    data = {"dataset": rows, "prompt": "question", "response": "answer", "template": "chatml", "max_length": 128}
    backbone = {"model__backbone": chat_model(tmp_path / "gpt2", "gpt2"), "model__samples": 0}
    tuning = {"model__tuning": "LoRA", "model__tuning__targets": "[wte, c_attn]"}
    given = {"data": "ChatData", **backbone, **tuning, **{f"data__{key}": value for key, value in data.items()}}
    run = short("tied", "CausalLM", **given)
    assert AutoModelForCausalLM.from_pretrained(given["model__backbone"]).config.tie_word_embeddings
    folder = export(run, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert not torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    requests = [row["question"] for row in echoes(5, 9)]
    assert ftlit.load(folder)(requests) == ftlit.load(run)(requests)
    monkeypatch.setattr(merge, "untie", lambda model: None)
    said = refused(["export", "--run", str(run), "--output", str(tmp_path / "no")], capsys)
    assert "LoRA cannot be merged: it changes wte, whose weights another layer shares (tied embeddings)" in said
    assert "export the adapter with --adapter-only" in said


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_a_threshold_that_was_tuned_on_validation(short: Finished, tiny: Tiny, tmp_path: Path) -> None:
    rows = question_splits(tmp_path / "data", 0.4)
    run = short("squad", "QuestionAnswering", model__backbone=tiny("bert"), data__dataset=rows, data__stride=16)
    folder = export(run, tmp_path / "out")
    assert float(load_file(folder / "head.safetensors")["task.tuned_threshold"]) != 0
    asked = [{key: row[key] for key in ("question", "context")} for row in question_rows(12, 9, 0.4)]
    found, expected = (ftlit.load(place)(asked) for place in (folder, run))
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("kind", "adapter"),
    [
        ("t5", False),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("t5", True), ("joined", False), ("joined", True))),
    ],
)
def test_texts_for_texts(
    kind: str, adapter: bool, short: Finished, tiny: Tiny, tiny_seq2seq: Tiny, reversals: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    backbone = tiny("bert") if kind == "joined" else tiny_seq2seq(kind)
    given = {"model__backbone": backbone, "model__tuning": "LoRA", "data__dataset": reversals}
    decoder = {"model__decoder": tiny("gpt2")} if kind == "joined" else {}
    run = short(kind, "Seq2Seq", **given, **decoder)
    if kind == "joined" and adapter:
        said = refused(["export", "--run", str(run), "--output", str(tmp_path / "out"), "--adapter-only"], capsys)
        assert said == (
            "--adapter-only: model.decoder combines two models, but an adapter has only one base model; remove --adapter-only"
        )
        return
    folder = export(run, tmp_path / "out", *(["--adapter-only"] if adapter else []))
    assert ftlit.load(folder)(TEXTS[:4]) == ftlit.load(run)(TEXTS[:4])
    assert (folder / "target_tokenizer").is_dir() == (kind == "joined")


@pytest.fixture(scope="module")
def without_pooler(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT whose files lack the pooler."""
    folder = tmp_path_factory.mktemp("without_pooler") / "bert"
    shutil.copytree(tiny("bert"), folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(0)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("adapter", some_by_default([False, True], chosen=[1]))
@pytest.mark.slow
def test_several_methods_and_weights_that_the_base_lacks(
    adapter: bool, short: Finished, tiny: Tiny, without_pooler: str, sentiment: str, tmp_path: Path
) -> None:
    """Biases and a new pooler stand beside an adapter, under their names in the base."""
    both = '{"class_path": "Combined", "init_args": {"methods": [{"class_path": "LoRA"}, {"class_path": "BitFit"}]}}'
    given = {"model__backbone": without_pooler, "model__tuning": both, "data__dataset": sentiment}
    run = short("both", "TextClassification", **given)
    folder = export(run, tmp_path / "out", *(["--adapter-only"] if adapter else []))
    found, expected = (ftlit.load(place)(TEXTS, scores=True) for place in (folder, run))
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-5)
    if adapter:
        names = load_file(folder / "head.safetensors").keys()
        assert {"classifier.weight", "backbone.pooler.dense.weight", "backbone.encoder.layer.0.output.dense.bias"} <= names
        plain = AutoModel.from_pretrained(tiny("bert")).state_dict()
        assert {name.removeprefix("backbone.") for name in names if name.startswith("backbone.")} <= plain.keys()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("dtype", "apart"), [("bfloat16", 0.1), ("float16", 0.02)])
@pytest.mark.slow
def test_smaller_weights(dtype: str, apart: float, finished: Finished, tmp_path: Path) -> None:
    folder = export(finished("LoRA"), tmp_path / "out", "--dtype", dtype)
    weights = load_file(folder / "model.safetensors")
    assert {str(weight.dtype) for weight in weights.values()} == {f"torch.{dtype}"}
    found, expected = (ftlit.load(place)(TEXTS, scores=True) for place in (folder, finished("LoRA")))
    assert [row["scores"]["bad"] for row in found] == pytest.approx([row["scores"]["bad"] for row in expected], abs=apart)


@pytest.mark.usefixtures("in_process")
def test_predicting_with_an_exported_folder(finished: Finished, tmp_path: Path) -> None:
    folder = export(finished("Full"), tmp_path / "out")
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    for place, name in ((folder, "a"), (finished("Full"), "b")):
        predict(str(place), str(tmp_path / "a.txt"), str(tmp_path / f"{name}.jsonl"), device="cpu")
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()


# What a folder holds, and what it takes to write one


@pytest.mark.usefixtures("in_process")
def test_contents(finished: Finished, tmp_path: Path) -> None:
    folder = export(finished("Full"), tmp_path / "out")
    names = {"README.md", "config.json", "ftlit.json", "ftlit_config.yaml", "model.safetensors"}
    assert {file.name for file in folder.iterdir()} == names | {"tokenizer.json", "tokenizer_config.json"}
    config, about = (json.loads((folder / name).read_text()) for name in ("config.json", "ftlit.json"))
    assert config["id2label"] == {"0": "bad", "1": "good"}
    assert about["task"]["backbone"] == about["data"]["backbone"] == "<this folder>"
    assert about["difference"] < 1e-5
    assert json.loads((folder / "tokenizer.json").read_text())["truncation"] is None
    card = (folder / "README.md").read_text()
    results = json.loads((finished("Full") / "results.json").read_text())
    record = json.loads((finished("Full") / "run.json").read_text())
    for part in (
        f"{results['validation']['accuracy']:.4f}",
        record["data"]["splits"]["train"]["fingerprint"],
        record["tuning"],
    ):
        assert part in card
    assert "python -m ftlit fit --config ftlit_config.yaml" in card
    paths = (folder / "ftlit_config.yaml", finished("Full") / "config.yaml")
    assert len({str(yaml.safe_load(path.read_text())) for path in paths}) == 1
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {(folder / "README.md").stat().st_mode & 0o777}


def test_the_verification_script_does_not_import_ftlit() -> None:
    source = Path(verify_script.__file__).read_text()
    code = f"import sys\nsys.argv = ['x', 'none']\ntry:\n    exec({source!r}, {{'__name__': '__main__'}})\n"
    code += "except FileNotFoundError:\n    print([name for name in sys.modules if name.startswith('ftlit')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def _tampered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the weights that are written, one is another."""
    whole = merge.save_merged

    def written(task: Any, folder: Path, *others: Any) -> None:
        whole(task, folder, *others)
        weights = load_file(folder / "model.safetensors")
        weights["bert.encoder.layer.1.output.dense.bias"] += 0.1 * torch.arange(32)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr("ftlit.exports.export.save_merged", written)


@pytest.mark.usefixtures("_tampered")
@pytest.mark.slow
def test_a_folder_that_gives_something_else_is_not_written(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["export", "--run", str(finished("LoRA")), "--output", "there/out"]
    said = refused(args, capsys)
    assert said.startswith("the export differs from the run: logits in a process with transformers alone by ")
    assert said.endswith(" of the largest value, but float32 allows 0.0001; nothing was written")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_overwrite(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export(finished("Full"), tmp_path / "out")
    before = (folder / "model.safetensors").read_bytes()
    again = ["export", "--run", str(finished("LoRA")), "--output", str(folder)]
    expected = f"--output {str(folder)!r} is an earlier export; replace it with --overwrite, or choose another folder"
    assert refused(again, capsys) == expected
    with monkeypatch.context() as patch:
        patch.setitem(verify.TOLERANCES, "float32", -1.0)
        assert "nothing was written" in refused([*again, "--overwrite"], capsys)
    assert (folder / "model.safetensors").read_bytes() == before
    main([*again, "--overwrite"])
    assert (folder / "model.safetensors").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_what_cannot_be(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_seq2seq: Tiny) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("all my work")
    stopped = shutil.copytree(finished("Full"), tmp_path / "stopped")
    record = json.loads((stopped / "run.json").read_text())
    (stopped / "run.json").write_text(json.dumps({**record, "status": "preempted"}))
    started = shutil.copytree(finished("LoRA"), tmp_path / "started")
    stay = "keep the run folder and use `ftlit predict`"
    cases = [
        (tmp_path / "no", [], f"{tmp_path}/no/checkpoints/best.ckpt does not exist: {tmp_path}/no holds no finished run"),
        (stopped, [], f"--run {str(stopped)!r} is not finished: run.json says preempted; finish it with `python -m ftlit fit"),
        (started, ["--output", str(tmp_path / "full"), "--overwrite"], "is not empty and not an export; choose another folder"),
        (started, ["--output", str(tmp_path / "full/thesis.tex")], "thesis.tex' is a file; expected a folder"),
        (started, ["--adapter-only", "--dtype", "float16"], "--dtype float16 applies to merged weights only; an adapter"),
        (finished("Full"), ["--adapter-only"], "model.tuning Full has none; remove --adapter-only"),
        (finished("BitFit"), ["--adapter-only"], "model.tuning BitFit has none; remove --adapter-only"),
        (finished("BottleneckAdapter"), ["--adapter-only"], f"model.tuning BottleneckAdapter has none; {stay}"),
        (finished("BottleneckAdapter"), [], f"its learned parameters do not update the backbone's weights; {stay}"),
        (
            finished("PromptTuning"),
            [],
            "model.tuning PromptTuning cannot be merged into the backbone: its learned parameters do not update the "
            f"backbone's weights; export the adapter with --adapter-only, or {stay}",
        ),
    ]
    there = sorted(path.name for path in tmp_path.iterdir())
    for run, options, said in cases:
        target = [] if "--output" in options else ["--output", str(tmp_path / "out")]
        assert said in refused(["export", "--run", str(run), *target, *options], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == there


@pytest.mark.usefixtures("in_process")
def test_data_that_are_gone(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*source: Any, **options: Any) -> None:
        raise UserError("there are no data")

    run = finished("Full")
    folder = export(run, tmp_path / "out")
    monkeypatch.setattr("ftlit.data.rows.splits.load_source", gone)
    assert ftlit.load(folder)(TEXTS) == ftlit.load(run)(TEXTS)
    assert refused(["export", "--run", str(run), "--output", str(tmp_path / "again")], capsys) == (
        "the rows of validation on which an export is verified cannot be read (there are no data); restore the data at the "
        "location of data.dataset"
    )


@pytest.mark.usefixtures("in_process")
def test_an_exported_folder_that_is_not_whole(finished: Finished, tmp_path: Path) -> None:
    folder = export(finished("LoRA"), tmp_path / "out", "--adapter-only")
    weights = load_file(folder / "head.safetensors")
    save_file({"classifier.bias": weights["classifier.bias"]}, folder / "head.safetensors")
    with pytest.raises(
        UserError, match=r"head\.safetensors does not match .*: 1 weights, such as classifier\.weight; export the"
    ):
        ftlit.load(folder)
    (folder / "ftlit.json").write_text("{}")
    with pytest.raises(UserError, match=r"ftlit\.json has no 'kind'; export the run again"):
        ftlit.load(folder)


def test_flags_need_no_value() -> None:
    from ftlit.exports.export import export as command

    given = ["export", "--run=a-b", "--adapter-only", "--overwrite", "--output", "--no-such", "--dtype", "float16"]
    expected = ["export", "--run=a-b", "--adapter_only=true", "--overwrite=true", "--output", "--no-such", "--dtype", "float16"]
    assert with_explicit_flags(given, command) == expected
    assert with_explicit_flags(["export", "--overwrite", "false"], command) == ["export", "--overwrite", "false"]
    assert with_explicit_flags(["export", "--overwrite"], command) == ["export", "--overwrite=true"]

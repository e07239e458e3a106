"""Mistakes get one clear sentence, exit code 2, and leave nothing half-written."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlit.__main__ import main
from tests.support.command_line import arguments, ftlit
from tests.support.data import sentiment_rows, write_splits

Refused = Callable[..., str]


@pytest.fixture
def refused(tiny: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Refused:
    """Runs `fit`, which must leave with code 2, and gives the one line that it says."""
    monkeypatch.setattr(sys, "argv", ["ftlit"])

    def call(
        dataset: str | Path, model: str = "TextClassification", data: str = "TextClassificationData", **options: Any
    ) -> str:
        run_dir = tmp_path / "run"
        given = {"run_dir": run_dir, "model__backbone": tiny("bert"), "data__dataset": dataset, **options}
        with pytest.raises(SystemExit) as left:
            main(arguments("fit", model, data, **given))
        said = capsys.readouterr().err
        assert left.value.code == 2, said
        assert not run_dir.exists(), sorted(run_dir.rglob("*"))
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, said
        return lines[0]

    return call


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return sentiment_rows(40, 0)


def test_missing_file(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "sentiment.csv").write_text("text,label\na,b\n")
    said = refused(tmp_path / "sentimant.csv")
    assert "does not exist" in said
    assert "Did you mean 'sentiment.csv'?" in said


def test_empty_file(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("")
    assert "train.csv" in refused(tmp_path / "train.csv")


def test_wrong_column(refused: Refused, sentiment: str) -> None:
    said = refused(sentiment, data__text="txet")
    assert "data.text" in said
    assert "train has no column 'txet'" in said
    assert "Did you mean 'text'?" in said


def test_label_never_seen_in_train(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    odd = [*rows[:6], {"text": "word1", "label": "ugly"}]
    said = refused(write_splits(tmp_path / "d", {"train": rows, "validation": odd}))
    assert "validation row 7: label 'ugly' is never seen in train; the labels are bad, good" in said


@pytest.mark.parametrize(("text", "problem"), [("  ", "is empty"), (None, "is null")])
def test_empty_text(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]], text: str | None, problem: str) -> None:
    rows[6]["text"] = text
    said = refused(write_splits(tmp_path / "d", {"train": rows}))
    assert "train row 7: the text in column 'text' " + problem in said
    assert "data.on_bad_rows: drop" in said


def test_null_label(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    rows[2]["label"] = None
    assert "train row 3: the label in column 'label' is null" in refused(write_splits(tmp_path / "d", {"train": rows}))


def test_split_of_one_class(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    good = [row for row in rows if row["label"] == "good"]
    said = refused(write_splits(tmp_path / "d", {"train": rows, "validation": good}))
    assert f"validation has the label 'good' alone in its {len(good)} rows" in said


def test_malformed_json_line(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    folder = Path(write_splits(tmp_path / "d", {"train": rows}))
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"text": "a", "label"\n')
    said = refused(folder)
    assert "train.jsonl" in said
    assert "line 41" in said


def test_several_labels_that_are_one_number(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    numbers = [{"text": row["text"], "label": i % 3} for i, row in enumerate(rows)]
    said = refused(write_splits(tmp_path / "d", {"train": numbers}), model__multi_label="true")
    assert "train row 1: column 'label' holds 0 (int), not a list of labels, or their names in one text" in said


def test_target_that_is_no_number(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    said = refused(write_splits(tmp_path / "d", {"train": rows}), "TextRegression", "TextRegressionData")
    assert "train row 1: column 'label' holds" in said
    assert "not a number" in said


def test_missing_backbone_folder(refused: Refused, sentiment: str) -> None:
    assert "model.backbone './nowhere' is not a folder" in refused(sentiment, model__backbone="./nowhere")


def test_backbone_that_is_not_cached(refused: Refused, sentiment: str) -> None:
    said = refused(sentiment, model__backbone="nobody/no-such-model")
    assert "model.backbone 'nobody/no-such-model' could not be loaded" in said
    assert "package:<module>/<path>" in said


def test_backbone_of_a_missing_package(refused: Refused, sentiment: str) -> None:
    assert "'no_such_package' is not installed" in refused(sentiment, model__backbone="package:no_such_package/model")


def test_tokenizer_without_pad_token(refused: Refused, tiny: Callable[[str], str], sentiment: str, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(tiny("bert")).save_pretrained(tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(tiny("bert"))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "m")
    said = refused(sentiment, model__backbone=tmp_path / "m")
    assert "has no pad token; set data.pad_token to one of its tokens" in said


def test_max_length_above_the_models_limit(refused: Refused, sentiment: str) -> None:
    assert "data.max_length is 65, but" in (said := refused(sentiment, data__max_length=65))
    assert "takes at most 64 tokens" in said


def test_lora_targets_that_match_nothing(refused: Refused, sentiment: str) -> None:
    said = refused(sentiment, model__tuning="LoRA", model__tuning__targets="[q_proj]")
    assert "model.tuning.targets ['q_proj'] are not in BertModel; its linear layers end in dense, key, query, value" in said


def test_too_many_top_layers(refused: Refused, sentiment: str) -> None:
    assert "model.tuning.k is 3, but BertModel has 2 layers" in refused(
        sentiment, model__tuning="TopLayers", model__tuning__k=3
    )


def test_too_few_shots(refused: Refused, sentiment: str) -> None:
    assert "data.shots is 100, but the label" in refused(sentiment, data__shots=100)


def test_missing_test_split(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    said = refused(write_splits(tmp_path / "d", {"train": rows}), test_after_fit="true")
    assert "has no test split" in said


def test_monitor_that_is_not_logged(refused: Refused, sentiment: str) -> None:
    said = refused(sentiment, model__monitor="val/acuracy")
    assert "model.monitor 'val/acuracy' is not a metric" in said
    assert "Did you mean 'val/accuracy'?" in said


def test_schedule_that_there_is_not(refused: Refused, sentiment: str) -> None:
    said = refused(sentiment, model__schedule="cosin")
    assert "model.schedule 'cosin' is not known. Did you mean 'cosine'?" in said


def test_warm_up_in_steps(refused: Refused, sentiment: str) -> None:
    said = refused(sentiment, model__warmup_ratio=100)
    assert "model.warmup_ratio must be a fraction of all steps, at least 0 and below 1, got 100" in said


def test_learning_rate_of_weights_that_there_are_not(refused: Refused, sentiment: str) -> None:
    said = refused(sentiment, model__lr_factors='{"lora_B": 16}')
    assert "model.lr_factors: 'lora_B' matches no trained weight" in said


@pytest.mark.parametrize("split", ["train", "validation"])
def test_text_that_no_batch_can_hold(split: str, refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    splits = {"train": rows, "validation": sentiment_rows(20, 1)}
    splits[split][3]["text"] = " ".join(["word1"] * 40)
    budget = {"data__batching": "TokenBudget", "data__batching__batch_size": None, "data__batching__max_tokens": 30}
    said = refused(write_splits(tmp_path / "d", splits), **budget)
    assert "data.batching.max_tokens is 30, but the longest text has 42 tokens" in said


def test_unlabelled_texts_for_no_loss(refused: Refused, sentiment: str) -> None:
    said = refused(sentiment, data__unlabelled=sentiment)
    assert "data.unlabelled has texts for an auxiliary loss, but the task has none: set model.auxiliary" in said


def test_no_row_is_good(refused: Refused, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    texts = [{"text": row["text"], "score": None} for row in rows]
    folder = write_splits(tmp_path / "d", {"train": texts})
    names = {"model": "TextRegression", "data": "TextRegressionData", "data__label": "score", "data__on_bad_rows": "drop"}
    assert "train has no good row; the first of its 40 bad ones: " in (said := refused(folder, **names))
    assert "train row 1: " in said


def test_bad_rows_are_dropped_on_request(
    tiny: Callable[[str], str], tmp_path: Path, rows: list[dict[str, Any]], monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    rows[6]["text"], rows[9]["label"] = "", None
    folder = write_splits(tmp_path / "d", {"train": rows, "validation": sentiment_rows(9, 1)})
    given = {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": folder}
    main(arguments("fit", "TextClassification", "TextClassificationData", data__on_bad_rows="drop", **given))
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["data"]["splits"]["train"]["rows"] == 38
    assert [place.split(": ")[1] for place in record["data"]["dropped"]["train"]] == ["train row 7", "train row 10"]


def test_a_loss_that_is_no_number_stops_the_run(
    tiny: Callable[[str], str], sentiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    given = {"run_dir": tmp_path / "run", "model__backbone": tiny("bert"), "data__dataset": sentiment}
    rates = {"model__optimizer": "SGD", "model__optimizer__lr": 1e30, "trainer__gradient_clip_val": "null"}
    with pytest.raises(SystemExit) as left:
        main(arguments("fit", "TextClassification", "TextClassificationData", save_every_n_steps=1, **given, **rates))
    said = capsys.readouterr().err
    assert left.value.code == 2
    step, names = re.findall(r"the loss is \S+ at step (\d+), on the examples (.*?); no checkpoint", said)[0]
    assert int(step) <= 11
    assert len(set(names.split(", "))) == 8
    assert set(names.split(", ")) < {f"train:{i}" for i in range(83)}
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["status"] == "failed"
    assert f"at step {step}, on the examples {names}" in record["error"]
    import torch

    for path in (tmp_path / "run/checkpoints").glob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.isfinite(weight).all() for weight in weights.values()), path


@pytest.mark.slow
def test_devices_stop_together_when_the_loss_of_one_is_no_number(tiny: Callable[[str], str], tmp_path: Path) -> None:
    splits = {split: [{"text": f"word{i}", "label": float(i % 2)} for i in range(64)] for split in ("train", "validation")}
    splits["train"][9]["label"] = 100.0
    folder, run_dir = write_splits(tmp_path / "d", splits), tmp_path / "run"
    given = {"run_dir": run_dir, "model__backbone": tiny("bert"), "data__dataset": folder}
    two = {"trainer__devices": 2, "trainer__strategy": "ddp", "model__loss": "tests.support.broken.NaNAtOutliers"}
    seldom = {"trainer__log_every_n_steps": 50}  # so that the validation comes first
    said = ftlit(arguments("fit", "TextRegression", "TextRegressionData", **given, **two, **seldom), code=2)
    step, names = re.findall(r"error: the loss is nan at step (\d+), on the examples (.*?); no checkpoint", said)[0]
    assert "train:9" in names.split(", ")
    record = json.loads((run_dir / "run.json").read_text())
    assert (record["status"], f"at step {step}" in record["error"]) == ("failed", True)
    assert not (run_dir / "checkpoints").exists()


def test_remote_code_is_off_unless_set() -> None:
    import inspect

    from ftlit.data import TaskData
    from ftlit.models.backbones import load_config, load_model, load_tokenizer
    from ftlit.tasks import TaskModule

    for function in (load_config, load_model, load_tokenizer, TaskModule, TaskData):
        assert inspect.signature(function).parameters["trust_remote_code"].default is False

"""Secrets stay out of what is shown to others, and the config that has them is its owner's alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftlit.runs.secrets import (
    hidden,
    hidden_arguments,
    hidden_text,
    shown_path,
    text_without_folders,
    without_folders,
    write_config,
)

LONG = "3f9a0c7712bd4e55aa01c2d3e4f5a6b7"


def test_only_secrets_are_hidden() -> None:
    loggers = [
        {"class_path": "CometLogger", "init_args": {"api_key": "k", "experiment_key": "e", "workspace": "w"}}, False,
        {"token": None, "apiKey": "k", "headers": {"Authorization": "Bearer k"}, "id": LONG, "save_dir": "/home/a1/b2"},
    ]  # fmt: skip
    data = {
        "pad_token": "[PAD]",
        "dataset": "https://me:pass@host/a.csv?token=abc&x=1",
        "system": "Use basic vocabulary, token by token",
    }
    config: dict[str, Any] = {
        "trainer": {"logger": loggers, "max_epochs": 3},
        "data": {"init_args": data},
        "model": {"revision": LONG},
    }
    shown = [
        {"class_path": "CometLogger", "init_args": {"api_key": "***", "experiment_key": "***", "workspace": "w"}}, False,
        {"token": None, "apiKey": "***", "headers": {"Authorization": "***"}, "id": "***", "save_dir": "/home/a1/b2"},
    ]  # fmt: skip
    assert hidden(config) == {
        "trainer": {"logger": shown, "max_epochs": 3},
        "data": {"init_args": {**data, "dataset": "https://***@host/a.csv?token=***&x=1"}},
        "model": {"revision": LONG},
    }
    assert config["trainer"]["logger"][0]["init_args"]["api_key"] == "k"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--trainer.logger.init_args.api_key=k=1", "--x=1"], ["--trainer.logger.init_args.api_key=***", "--x=1"]),
        (["fit", "--trainer.logger.password", "k", "--x", "y"], ["fit", "--trainer.logger.password", "***", "--x", "y"]),
        (["--trainer.logger.password=k", "y"], ["--trainer.logger.password=***", "y"]),
        (["--data.pad_token", "[PAD]", "--model.revision", LONG], ["--data.pad_token", "[PAD]", "--model.revision", LONG]),
        (
            ["--trainer.logger", json.dumps({"class_path": "CometLogger", "init_args": {"api_key": "k", "project": "p"}})],
            ["--trainer.logger", json.dumps({"class_path": "CometLogger", "init_args": {"api_key": "***", "project": "p"}})],
        ),
        (["--trainer.logger+={class_path: C, init_args: {experiment_key: k}}"],
         ['--trainer.logger+={"class_path": "C", "init_args": {"experiment_key": "***"}}']),
        (["--trainer.callbacks=[{class_path: my.Mail, init_args: {smtp_password: k}}]"],
         ['--trainer.callbacks=[{"class_path": "my.Mail", "init_args": {"smtp_password": "***"}}]']),
        (["--data.dataset", "s3://id:key@bucket/x", "fit"], ["--data.dataset", "s3://***@bucket/x", "fit"]),
        (["--model.api_key", "abc", "--data.text", "key"], ["--model.api_key", "***", "--data.text", "key"]),
        (["--trainer.logger.tracking_uri=http://u:p@h:50"], ["--trainer.logger.tracking_uri=http://***@h:50"]),
        (["--data.splits", "{train: a, test: b}"], ["--data.splits", "{train: a, test: b}"]),
    ],
)  # fmt: skip
def test_arguments(given: list[str], shown: list[str]) -> None:
    assert hidden_arguments(given) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", "{'Authorization': 'Basic ***'}"),
        ("401 of https://h/x?api_key=abc", "401 of https://h/x?api_key=***"),
        ("token hf_abcdefghijklmnopqrst is wrong", "token *** is wrong"),
        ("a basic knowledge of tokens: 123", "a basic knowledge of tokens: 123"),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert hidden_text(text) == shown


def test_values_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TRACKER_PASSWORD", "correct horse")
    assert hidden_arguments(["--x", "me/correct horse"]) == ["--x", "me/***"]


def test_a_config_with_secrets_is_its_owners(tmp_path: Path) -> None:
    for name, config, mode in (("a", "trainer: {logger: {api_key: k}}", 0o600), ("b", "trainer: {max_epochs: 3}", 0o644)):
        write_config(tmp_path / name, config)
        assert (tmp_path / name).read_text() == config
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/me/sst2", ".../sst2"),
        ("/home/me/my data/", ".../my data"),
        ("~/sst2", ".../sst2"),
        ("~me/x/sst2.csv", ".../sst2.csv"),
        (r"C:\Users\me\sst2", ".../sst2"),
        ("data/sst2", "data/sst2"),
        ("org/name@main", "org/name@main"),
        ("package:a/b", "package:a/b"),
        ("https://x.org/a/b", "https://x.org/a/b"),
        ("/predict", "/predict"),
        (".../sst2", ".../sst2"),
    ],
)
def test_paths_without_folders(path: str, shown: str) -> None:
    assert shown_path(path) == shown
    assert without_folders({"a": [path], "label_names": [path]}) == {"a": [shown], "label_names": [path]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("trained on /home/me/a.csv, and `~/b/c`", "trained on .../a.csv, and `.../c`"),
        ("--data.dataset=/home/me/a --run_dir=runs/x", "--data.dataset=.../a --run_dir=runs/x"),
        ("p50/p95/p99, and/or, 1/2, this/folder/backbone", "p50/p95/p99, and/or, 1/2, this/folder/backbone"),
        ("localhost:8000/predict and https://x.org/a/b", "localhost:8000/predict and https://x.org/a/b"),
        ("POST /predict; <sub>a</sub>", "POST /predict; <sub>a</sub>"),
    ],
)
def test_texts_without_folders(text: str, shown: str) -> None:
    assert text_without_folders(text) == shown
    assert text_without_folders(shown) == shown

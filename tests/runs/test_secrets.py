"""Secrets of experiment trackers stay out of what is shown to others."""

import pytest

from ftlit.runs.secrets import hidden, hidden_arguments


def test_only_secrets_of_loggers_are_hidden() -> None:
    loggers = [{"class_path": "CometLogger", "init_args": {"api_key": "k", "workspace": "w"}}, False, {"token": None}]
    config = {"trainer": {"logger": loggers, "max_epochs": 3}, "data": {"pad_token": "[PAD]"}}
    shown = [{"class_path": "CometLogger", "init_args": {"api_key": "***", "workspace": "w"}}, False, {"token": None}]
    assert hidden(config) == {"trainer": {"logger": shown, "max_epochs": 3}, "data": {"pad_token": "[PAD]"}}
    assert config["trainer"]["logger"][0]["init_args"]["api_key"] == "k"  # type: ignore[index]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--trainer.logger.init_args.api_key=k=1", "--x=1"], ["--trainer.logger.init_args.api_key=***", "--x=1"]),
        (["fit", "--trainer.logger.password", "k", "--x", "y"], ["fit", "--trainer.logger.password", "***", "--x", "y"]),
        (["--trainer.logger.password=k", "y"], ["--trainer.logger.password=***", "y"]),
        (["--data.pad_token", "[PAD]"], ["--data.pad_token", "[PAD]"]),
    ],
)  # fmt: skip
def test_arguments(given: list[str], shown: list[str]) -> None:
    assert hidden_arguments(given) == shown

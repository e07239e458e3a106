"""What of an exported folder is sent: its files. Those that ftlit wrote name no secret, and no folder of this machine."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from ftlit.errors import UserError, in_a_sentence
from ftlit.exports.card.card import CARD, RUN_CONFIG
from ftlit.exports.card.use import FOLDER
from ftlit.exports.compress.report import RECORD
from ftlit.runs.exported import METADATA_FILE, read_metadata
from ftlit.runs.secrets import hidden_text, shown_path, text_without_folders, without_folders
from ftlit.util.files import damaged, read_json, read_whole

ADAPTER_CONFIG, MODEL_CONFIG = "adapter_config.json", "config.json"
USE = "## Use\n"


@dataclass(frozen=True)
class Contents:
    """The files to send.

    Args:
        files: A path on this machine, or the content, by path in the repository.
        card: Text of the model card.
    """

    files: dict[str, Path | bytes]
    card: str

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {name: len(one) if isinstance(one, bytes) else one.stat().st_size for name, one in self.files.items()}


def contents(folder: Path, repo: str) -> Contents:
    """Return what to send of an exported folder.

    Args:
        folder: The folder.
        repo: Name of the repository, which the model card tells how to download.

    Raises:
        UserError: The folder is incomplete, or others could not use it.
    """
    if read_metadata(folder)["kind"] == "adapter":
        _check_base(folder)
    if not (folder / CARD).is_file():
        raise UserError(f"{folder} has no model card, {CARD}; export the run again")
    found: dict[str, Path | bytes] = {name: folder / name for name in _names(folder)}
    found |= {name: _cleaned(folder / name).encode() for name in found if Path(name).name in CLEANED}
    card = _checked_card(folder / CARD, repo)
    return Contents({**found, CARD: card.encode()}, card)


def _names(folder: Path) -> list[str]:
    """The files by their paths in the folder, without hidden ones.

    Raises:
        UserError: There is a link, which may lead anywhere.
    """
    names = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts):
            continue
        if path.is_symlink():
            raise UserError(f"{path} is a link; put the file itself into the folder")
        if path.is_file():
            names.append(name.as_posix())
    return names


def _check_base(folder: Path) -> None:
    """Check that others can find the base model of an adapter.

    Raises:
        UserError: It is a folder of this machine.
    """
    base = str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path"))
    if shown_path(base) != base or Path(base).is_dir():
        raise UserError(
            f"{folder} is an adapter of {base}, a folder that others do not have; export the run without --adapter-only, or "
            "train with the name of the backbone on the hub"
        )


# Texts that ftlit wrote


def _cleaned(path: Path) -> str:
    return CLEANED[path.name](path)


def _json(path: Path) -> str:
    return json.dumps(_without_secrets(without_folders(read_json(path))), indent=2, ensure_ascii=False) + "\n"


def _config(path: Path) -> str:
    """The run's config, of which the export has already hidden what is secret by its key."""
    try:
        config = yaml.safe_load(read_whole(path))
    except yaml.YAMLError as error:
        raise damaged(path, f"it is not valid YAML ({in_a_sentence(error)})") from error
    return yaml.safe_dump(_without_secrets(without_folders(config)), sort_keys=False, allow_unicode=True)


def _model_config(path: Path) -> str:
    """The model's config; of its texts, such as labels, only the name of the backbone can be a path."""
    config = read_json(path)
    if isinstance(name := config.get("_name_or_path"), str):
        config["_name_or_path"] = shown_path(name)
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return hidden_text(value) if isinstance(value, str) else value


CLEANED: dict[str, Callable[[Path], str]] = {
    METADATA_FILE: _json,
    RECORD: _json,
    ADAPTER_CONFIG: _json,
    RUN_CONFIG: _config,
    MODEL_CONFIG: _model_config,
}


def _checked_card(path: Path, repo: str) -> str:
    """The model card with the command that downloads the folder.

    Raises:
        UserError: Its metadata cannot be read.
    """
    text = text_without_folders(hidden_text(read_whole(path)))
    text = text.replace(USE, f"{USE}\n```console\n$ hf download {repo} --local-dir {FOLDER}\n```\n", 1)
    try:
        known = ModelCard(text).data.to_dict() if text.startswith("---\n") else {}
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{path} has metadata that the hub could not read: {in_a_sentence(error)}; correct them") from error
    if "library_name" not in known:
        raise UserError(f"{path} does not begin with the metadata of a model card; export the run again")
    return text

"""Folders of strangers: a run, or an export, with code that leaves a mark if it is ever run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

CODE = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from ftlit.data import LengthGrouped, TextClassificationData
from ftlit.tasks import TextClassification
from ftlit.tuning import Full
from lightning import Callback
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast
if not __name__.startswith("transformers_modules"):  # the parser finds these classes for the rest of the process
    class Task(TextClassification): pass
    class Data(TextClassificationData): pass
    class Tuning(Full): pass
    class Batches(LengthGrouped): pass
    class Watch(Callback): pass
class Config(BertConfig): pass
class Model(BertForSequenceClassification): config_class = Config
class Base(BertModel): config_class = Config
class Words(PreTrainedTokenizerFast): pass
def rows(): return {{}}
def generate(*args, **kwargs): pass
"""


class Exploit:
    """An object whose pickle runs code when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@dataclass(frozen=True)
class Planted:
    """A folder of a run (or of an export), what its code leaves behind, and the folder of a model with code."""

    folder: Path
    mark: Path
    backbone: Path

    def checkpoint(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a checkpoint."""
        path = self.folder / "checkpoints/best.ckpt"
        found = torch.load(path, weights_only=True)
        change(found)
        torch.save(found, path)

    def arguments(self, task: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> None:
        """Change hyper-parameters, in the checkpoint of a run or in ftlit.json of an export."""
        if (file := self.folder / "ftlit.json").is_file():
            told = json.loads(file.read_text())
            file.write_text(json.dumps({**told, "task": told["task"] | (task or {}), "data": told["data"] | (data or {})}))
            return
        self.checkpoint(lambda found: found["hyper_parameters"].update(task or {}))
        self.checkpoint(lambda found: found["datamodule_hyper_parameters"].update(data or {}))

    def config(self, section: str, **values: Any) -> None:
        """Change the config of a run."""
        if (file := self.folder / "config.yaml").is_file():
            config = yaml.safe_load(file.read_text())
            (config[section] if section == "trainer" else config[section]["init_args"]).update(values)
            file.write_text(yaml.safe_dump(config))

    def model(self, **values: Any) -> None:
        """Give the run, or the export, a model whose config.json has these values."""
        place = self.folder if (self.folder / "config.json").is_file() else self.backbone
        file = place / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))
        if place is self.backbone:
            self.arguments({"backbone": str(place)}, {"backbone": str(place)})
            self.config("model", backbone=str(place))

    def beside_model(self, name: str, content: Any) -> None:
        """Put a file beside the model."""
        self.model()
        place = self.folder if (self.folder / "config.json").is_file() else self.backbone
        known = json.loads((place / name).read_text()) if (place / name).is_file() else {}
        (place / name).write_text(json.dumps(known | content))


AUTO = {"AutoConfig": "evil.Config", "AutoModel": "evil.Base", "AutoModelForSequenceClassification": "evil.Model"}


def _trusting(planted: Planted) -> None:
    planted.model(auto_map=AUTO)
    planted.arguments({"trust_remote_code": True}, {"trust_remote_code": True})
    planted.config("model", trust_remote_code=True)


def _trusting_head(planted: Planted) -> None:
    planted.model(auto_map=AUTO)
    inner = {"decoder": str(planted.backbone), "trust_remote_code": True}
    planted.arguments({"head": json.dumps({"class_path": "ftlit.EncoderDecoderHead", "init_args": inner})})


def _yaml_tag(planted: Planted) -> None:
    file = planted.folder / "config.yaml"
    if file.is_file():
        touch = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{planted.mark}']]"
        file.write_text(f"seed_everything: {touch}\n{file.read_text()}")


def _pickle(planted: Planted) -> None:
    if (planted.folder / "checkpoints").is_dir():
        torch.save(Exploit(planted.mark), planted.folder / "checkpoints/best.ckpt")
    else:
        torch.save(Exploit(planted.mark), planted.folder / "pytorch_model.bin")
        (planted.folder / "model.safetensors").unlink()


def _pickle_inside(planted: Planted) -> None:
    if (planted.folder / "checkpoints").is_dir():
        planted.checkpoint(lambda found: found.update(optimizer_states=[Exploit(planted.mark)]))


def _adapter(planted: Planted) -> None:
    settings = {"peft_type": "LORA", "target_modules": ["query"], "megatron_config": {"a": 1}, "megatron_core": "evil"}
    planted.beside_model(
        "adapter_config.json", settings | {"auto_mapping": {"base_model_class": "Base", "parent_library": "evil"}}
    )


def _class_of_config(planted: Planted) -> None:
    planted.config("model", tuning={"class_path": "evil.Tuning"})
    planted.config("data", batching={"class_path": "evil.Batches"})


def _generate(planted: Planted) -> None:
    planted.model()
    place = planted.folder if (planted.folder / "config.json").is_file() else planted.backbone
    (place / "custom_generate").mkdir()
    shutil.copy(planted.backbone / "evil.py", place / "custom_generate/generate.py")


WAYS: dict[str, Callable[[Planted], None]] = {
    "a pickle as weights": _pickle,
    "a pickle in the state of the optimizer": _pickle_inside,
    "the flag, and a model's code": _trusting,
    "the flag in a head": _trusting_head,
    "a model's code": lambda planted: planted.model(auto_map=AUTO),
    "a tokenizer's code": lambda planted: planted.beside_model(
        "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Words", "evil.Words"]}}
    ),
    "a task": lambda planted: planted.arguments({"_class_path": "evil.Task"}),
    "data": lambda planted: planted.arguments(None, {"_class_path": "evil.Data"}),
    "a tuning method": lambda planted: planted.arguments({"tuning": {"class_path": "evil.Tuning"}}),
    "a tuning method as text": lambda planted: planted.arguments({"tuning": '{"class_path": "evil.Tuning"}'}),
    "an optimizer": lambda planted: planted.arguments({"optimizer": {"class_path": "evil.Tuning"}}),
    "batches": lambda planted: planted.arguments(None, {"batching": "evil.Batches"}),
    "classes in the config": _class_of_config,
    "a callback in the config": lambda planted: planted.config("trainer", callbacks=[{"class_path": "evil.Watch"}]),
    "a function of rows": lambda planted: (
        planted.arguments(None, {"dataset": "evil:rows"}), planted.config("data", dataset="evil:rows")
    )[0],
    "a tag in the config": _yaml_tag,
    "an adapter's module": _adapter,
    "a function that generates": _generate,
}  # fmt: skip


def planted(way: str, source: Path, backbone: str, into: Path) -> Planted:
    """A copy of a run or of an export with code in one of the ways. The code also lies in the present folder, ``into``."""
    made = Planted(into / "stranger", into / "mark", into / "model")
    shutil.copytree(source, made.folder)
    shutil.copytree(backbone, made.backbone)
    for place in (into, made.backbone, made.folder):
        (place / "evil.py").write_text(CODE.format(mark=str(made.mark)))
    WAYS[way](made)
    return made

"""Model card of an exported folder: description, results, usage and origin."""

import shlex
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from ftlit.exports.adapters import base_model_name
from ftlit.runs.exported import BACKBONE, Kind
from ftlit.runs.reading import RunFolder, results_text
from ftlit.tasks import TaskModule, TextRegression

FOLDER = "this/folder"
RUN_CONFIG = "ftlit_config.yaml"  # resolved config of the run
DESCRIPTIONS: dict[Kind, str] = {
    "model": "A model for transformers, independent of ftlit.",
    "own_head": "A model for transformers, independent of ftlit. Its head is not part of transformers: the code is in "
    "`modeling_ftlit.py`, and runs only with `trust_remote_code=True`.",
    "backbone": "`backbone/` is a backbone for transformers. `head.safetensors` contains the head, which requires ftlit.",
    "adapter": "The folder is an adapter for peft. `head.safetensors` contains the other trained weights: the head, and "
    "weights that the base model lacks.",
    "onnx": "`model.onnx` is a graph for ONNX Runtime, independent of PyTorch, transformers and ftlit.",
    "int8": "`model_int8.safetensors` contains the weights with 8 bits, for `ftlit.load` on a CPU.",
}


def model_card(run_dir: Path, task: TaskModule, kind: Kind, dtype: str, scaled: bool = False, use: str | None = None) -> str:
    """Return the model card of a run in Markdown.

    Args:
        run_dir: Folder of the run.
        task: Task of the run.
        kind: Kind of the exported folder.
        dtype: Data type of the weights.
        scaled: Whether the model of a regression returns the target in its own unit.
        use: Code that uses the folder; by default with transformers.
    """
    record, results = RunFolder(run_dir).record, RunFolder(run_dir).results
    parts = [
        _front(task, kind),
        f"# {run_dir.resolve().name}\n\n{DESCRIPTIONS[kind]}",
        _table({"task": record["task"], "backbone": _backbone(record), "tuning": record["tuning"], "weights": dtype}),
        f"## Results\n\n{results_text(results, 'github')}",
        f"## Use\n\n```python\n{use or _use(task, kind)}\n```" + _notes(task, scaled),
        f"## Training\n\n```console\n{_command(record)}\n```\n\nThe resolved config is in [{RUN_CONFIG}]({RUN_CONFIG}).",
        _data(record),
        _table({**record["versions"], "git commit": record.get("git", {}).get("commit", "none")}, ["made with", ""]),
    ]
    return "\n\n".join(parts) + "\n"


def _backbone(record: dict[str, Any]) -> str:
    parts = [record["backbone"], record.get("revision"), f"(commit {commit})" if (commit := record.get("commit")) else None]
    return " ".join(part for part in parts if part)


def _front(task: TaskModule, kind: Kind) -> str:
    library = {"adapter": "peft", "onnx": "onnx"}.get(kind, "transformers")
    facts: dict[str, Any] = {"library_name": library, "tags": ["ftlit"]}
    base = base_model_name(task)
    if not Path(base).is_dir():  # the metadata accept hub names only
        facts["base_model"] = base
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---"


def _use(task: TaskModule, kind: Kind) -> str:
    name = "AutoModel" if kind == "backbone" or task.backbone is not task.model else task.auto_class.__name__
    if kind in ("model", "own_head"):
        name = task.auto_class.__name__
    base = {"adapter": base_model_name(task), "backbone": f"{FOLDER}/{BACKBONE}"}.get(kind, FOLDER)
    trust = ", trust_remote_code=True" if kind == "own_head" else ""
    head = "" if kind in ("model", "own_head") else "  # without the head"
    words = f"{FOLDER}/{BACKBONE}" if kind == "backbone" else FOLDER
    lines = [
        "import ftlit",
        f"from transformers import {name}, AutoTokenizer",
        "",
        f'ftlit.load("{FOLDER}")([...])  # texts or rows as in the run',
        f'tokenizer = AutoTokenizer.from_pretrained("{words}")',
        f'model = {name}.from_pretrained("{base}"{trust}){head}',
    ]
    if kind == "adapter":
        lines[2:2] = ["from peft import PeftModel"]
        lines += [f'model = PeftModel.from_pretrained(model, "{FOLDER}")']
    return "\n".join(lines)


def _notes(task: TaskModule, scaled: bool) -> str:
    if isinstance(task, TextRegression):
        if scaled:
            return "\n\nThe logit is the predicted number."
        return f"\n\nThe logit is the standardized prediction: multiply by {task.deviation} and add {task.mean}."
    if names := getattr(task, "label_names", None):
        return f"\n\nLabels: {', '.join(names[:50])}{', ...' if len(names) > 50 else ''}."
    return ""


def _command(record: dict[str, Any]) -> str:
    given = record.get("command", [])[1:]
    return shlex.join(["python", "-m", "ftlit", *(given or ["fit", "--config", RUN_CONFIG])])


def _data(record: dict[str, Any]) -> str:
    splits = record.get("data", {}).get("splits", {})
    rows = [[name, split.get("rows"), split.get("fingerprint")] for name, split in splits.items()]
    return tabulate(rows, headers=["split", "rows", "fingerprint"], tablefmt="github", disable_numparse=True)


def _table(facts: dict[str, Any], headers: list[str] | None = None) -> str:
    rows = [[name, str(value)] for name, value in facts.items()]
    return tabulate(rows, headers=headers or ["", ""], tablefmt="github", disable_numparse=True)

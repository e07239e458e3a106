"""Model card of an exported folder: description, data, results, limits, usage and origin."""

import shlex
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard

from ftlit.exports.card.data import data_section, table
from ftlit.exports.card.limits import limits_section
from ftlit.exports.card.metadata import evaluated, metadata, relation
from ftlit.exports.card.subject import Subject
from ftlit.exports.card.use import use_section
from ftlit.runs.exported import Kind
from ftlit.runs.reading import results_text
from ftlit.runs.secrets import shown_path
from ftlit.tasks import TextRegression

CARD = "README.md"
RUN_CONFIG = "ftlit_config.yaml"  # resolved config of the run
DESCRIPTIONS: dict[Kind, str] = {
    "model": "A model for transformers, independent of ftlit.",
    "own_head": "A model for transformers, independent of ftlit. Its head is not part of transformers: the code is in "
    "`modeling_ftlit.py`, and runs only with `trust_remote_code=True`.",
    "backbone": "`backbone/` is a backbone for transformers. `head.safetensors` contains the head, which requires ftlit.",
    "adapter": "The folder is an adapter for peft. `head.safetensors` contains the other trained weights: the head, and "
    "weights that the base model lacks.",
    "onnx": "The files that end in `.onnx` are graphs for ONNX Runtime, independent of PyTorch, transformers and ftlit.",
    "gguf": "`model.gguf` is a model for llama.cpp, with its tokenizer inside.",
    "torch": "`model.pt2` is a program of torch.export, for PyTorch alone.",
    "int8": "`model_int8.safetensors` contains the weights with 8 bits, for `ftlit.load` on a CPU.",
}
INTERVALS = (
    "The intervals are 95% percentile bootstraps over the examples of test, or over documents if the data name them. The "
    "untrained model and the baseline, which reads no text, show how much was learned."
)
OTHER_WEIGHTS = "The run evaluated its best checkpoint, but the weights of this folder are those of another one."


def model_card(subject: Subject) -> str:
    """Return the model card of a folder in Markdown, with the metadata of the hub at its top."""
    record = subject.run.record
    parts = [
        f"---\n{metadata(subject).to_yaml()}\n---",
        f"# {subject.name}\n\n{DESCRIPTIONS[subject.kind]}",
        _task(subject),
        data_section(subject),
        _results(subject),
        limits_section(subject),
        use_section(subject),
        f"## Training\n\n```console\n{_command(record)}\n```\n\nThe resolved config is in [{RUN_CONFIG}]({RUN_CONFIG}).",
        _facts({**record["versions"], "git commit": record.get("git", {}).get("commit", "none")}, ["made with", ""]),
    ]
    return "\n\n".join(parts) + "\n"


def with_measurements(text: str, subject: Subject, split: str, metrics: Mapping[str, float], section: str) -> str:
    """Return a card whose metadata have the metrics of a compressed form instead of those of the run.

    Args:
        text: The card.
        subject: What it is about.
        split: The split on which the form was evaluated.
        metrics: Its metrics.
        section: What to say about the form.
    """
    card = ModelCard(text)
    card.data["eval_results"], card.data["model_name"] = evaluated(subject, split, metrics), subject.name
    if card.data.get("base_model"):
        card.data["base_model_relation"] = relation(subject)
    before, limits, after = card.content.partition("\n## Limits\n")
    return f"{before}\n{section}{limits}{after}"


def _task(subject: Subject) -> str:
    record, numbers = subject.run.record, subject.run.record.get("parameters", {})
    trained = f"{numbers['trained']:,} of {numbers['total']:,}" if numbers else None
    facts = {"task": record["task"], "backbone": subject.backbone, "tuning": record["tuning"], "weights": subject.dtype}
    more = {"trained weights": trained, "longest input": f"{subject.data.max_length} tokens"}
    return f"## Task\n\n{_facts({**facts, **more})}{_notes(subject)}"


def _results(subject: Subject) -> str:
    if subject.split is None:
        return f"## Results\n\n{OTHER_WEIGHTS if not subject.best else 'The run has not been evaluated.'}"
    told = f"\n\n{INTERVALS}" if "intervals" in subject.results else ""
    return f"## Results\n\n{results_text(subject.results, 'github')}{told}"


def _notes(subject: Subject) -> str:
    task = subject.task
    if isinstance(task, TextRegression):
        if subject.scaled:
            return "\n\nThe logit is the predicted number."
        return f"\n\nThe logit is the standardized prediction: multiply by {task.deviation} and add {task.mean}."
    names = getattr(task, "label_names", None)
    parts = [f"Labels: {', '.join(names[:50])}{', ...' if len(names) > 50 else ''}."] if names else []
    parts += [f"{subject.calibration[0].upper()}{subject.calibration[1:]}."] if subject.calibration else []
    return "".join(f"\n\n{part}" for part in parts)


def _command(record: dict[str, Any]) -> str:
    given = [_without_folder(argument) for argument in record.get("command", [])[1:]]
    return shlex.join(["python", "-m", "ftlit", *(given or ["fit", "--config", RUN_CONFIG])])


def _without_folder(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return f"{name}={shown_path(value)}" if equals and name.startswith("-") else shown_path(argument)


def _facts(facts: dict[str, Any], headers: list[str] | None = None) -> str:
    return table([[name, value] for name, value in facts.items() if value is not None], headers or ["", ""])

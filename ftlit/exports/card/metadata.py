"""The metadata at the top of a model card, which the hub reads and checks."""

import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, try_to_load_from_cache

from ftlit.exports.card.subject import SPLITS, Subject
from ftlit.runs.exported import Kind
from ftlit.tasks import (
    CausalLM,
    MaskedLM,
    MultipleChoice,
    QuestionAnswering,
    RelationExtraction,
    Seq2Seq,
    TaskModule,
    TextClassification,
    TextRegression,
    TokenClassification,
)
from ftlit.util.hub import unpinned

PIPELINES: dict[type[TaskModule], str] = {  # names of tasks on the hub
    TextClassification: "text-classification",
    TextRegression: "text-classification",
    RelationExtraction: "text-classification",
    TokenClassification: "token-classification",
    QuestionAnswering: "question-answering",
    MultipleChoice: "multiple-choice",
    MaskedLM: "fill-mask",
    CausalLM: "text-generation",
    Seq2Seq: "text-generation",
}
LIBRARIES: dict[Kind, str] = {
    "adapter": "peft",
    "onnx": "onnx",
    "backbone": "ftlit",
    "int8": "ftlit",
    "gguf": "gguf",
    "torch": "pytorch",
}
# Names of metrics on the hub, by how ours begin.
METRICS = {
    "accuracy": "accuracy",
    "f1": "f1",
    "precision": "precision",
    "recall": "recall",
    "mcc": "matthews_correlation",
    "auroc": "roc_auc",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "mse": "mse",
    "rmse": "rmse",
    "mae": "mae",
    "exact_match": "exact_match",
    "bleu": "bleu",
    "chrf": "chrf",
    "rouge": "rouge",
    "meteor": "meteor",
    "bertscore": "bertscore",
    "perplexity": "perplexity",
}
LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
LANGUAGE = re.compile(r"[a-z]{2,3}")  # ISO 639
DIGITS = 6  # of results


def metadata(subject: Subject) -> ModelCardData:
    """Return the metadata of a folder."""
    card = backbone_card(str(subject.run.record["backbone"]), subject.base)
    base = subject.base_on_hub
    results = [result for split in SPLITS for result in evaluated(subject, split, subject.results.get(split, {}))]
    given: dict[str, Any] = {
        "language": languages(subject, card),
        **license_of(card),
        "library_name": LIBRARIES.get(subject.kind, "transformers"),
        "pipeline_tag": pipeline_of(subject),
        "base_model": base,
        "base_model_relation": relation(subject) if base else None,
        "datasets": [subject.dataset_on_hub] if subject.dataset_on_hub else None,
        "metrics": list(dict.fromkeys(result.metric_type for result in results)) or None,
        "tags": ["ftlit", type(subject.task).__name__, type(subject.task.tuning).__name__],
        "model_name": subject.name if results else None,
        "eval_results": results or None,
    }
    return ModelCardData(**given)


def pipeline_of(subject: Subject) -> str | None:
    """The hub's name of the task; None for a task of the user that is derived from none of the package."""
    if subject.data_option("target_language"):
        return "translation"
    return next((PIPELINES[kind] for kind in type(subject.task).__mro__ if kind in PIPELINES), None)


def relation(subject: Subject) -> str:
    """How the folder derives from the base model."""
    if subject.kind == "adapter":
        return "adapter"
    return "quantized" if subject.dtype in ("int8", "int4") else "finetune"


def evaluated(subject: Subject, split: str, values: Mapping[str, float]) -> list[EvalResult]:
    """The results on a split as the hub's index of models has them; the loss is not among them."""
    place = {
        "task_type": pipeline_of(subject) or "other",
        "dataset_type": subject.dataset_on_hub or re.sub(r"[^\w.-]+", "-", subject.dataset),
        "dataset_name": subject.dataset,
        "dataset_config": subject.data_option("config_name"),
        "dataset_split": (subject.data_option("splits") or {}).get(split) or split,
        "dataset_revision": subject.run.record.get("data_commit"),
    }
    return [
        EvalResult(**place, metric_type=metric_on_hub(name), metric_name=name, metric_value=round(value, DIGITS))
        for name, value in values.items()
        if name != "loss" and isfinite(value)
    ]


def metric_on_hub(name: str) -> str:
    """The hub's name of a metric, or ours."""
    return next((known for start, known in METRICS.items() if name.startswith(start)), name)


# What the backbone's own card says


def backbone_card(backbone: str, place: str) -> dict[str, Any]:
    """The metadata of the backbone's card, from its folder or the local cache of the hub; empty if there are none.

    Args:
        backbone: The backbone as the run names it.
        place: Its folder, or its name on the hub.
    """
    folder = Path(place)
    file = folder / "README.md" if folder.is_dir() else _cached(backbone)
    if file is None or not file.is_file():
        return {}
    try:
        found = ModelCard.load(file, ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, TypeError, yaml.YAMLError):  # it is not ours, and may be anything
        return {}
    return dict(found)


def _cached(backbone: str) -> Path | None:
    name, revision = unpinned(backbone)
    try:
        found = try_to_load_from_cache(name, "README.md", revision=revision)
    except ValueError:  # not a name on the hub
        return None
    return Path(found) if isinstance(found, str) else None


def license_of(card: Mapping[str, Any]) -> dict[str, str]:
    """The license in a card, with the name and the address of one that the hub does not know; empty if it has none."""
    found = {key: card[key] for key in ("license", "license_name", "license_link") if isinstance(card.get(key), str)}
    if not found.get("license_link", "").startswith("https://"):  # a file beside that card
        found.pop("license_link", None)
    return found if LICENSE.fullmatch(found.get("license", "")) else {}


def languages(subject: Subject, card: Mapping[str, Any]) -> list[str] | None:
    """The languages that the config of the data names, else the only one that the backbone's card names."""
    given = [subject.data_option(f"{part}_language") for part in ("source", "target")]
    codes = [re.split(r"[_-]", str(code))[0].lower() for code in given if code]
    if not codes:
        known = card.get("language")
        several = known if isinstance(known, list) else [known]
        codes = [str(code) for code in several] if len(several) == 1 else []
    valid = [code for code in dict.fromkeys(codes) if LANGUAGE.fullmatch(code)]
    return valid or None

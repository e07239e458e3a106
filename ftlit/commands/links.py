"""Arguments that the data and the model take from each other, so that they are set only once."""

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from ftlit.data import (
    ChatData,
    CorpusData,
    MultipleChoiceData,
    QuestionAnsweringData,
    RelationExtractionData,
    Seq2SeqData,
    TextClassificationData,
    TextRegressionData,
    TokenClassificationData,
)
from ftlit.data.shared.base import TASK_ARGUMENTS, TaskData
from ftlit.errors import UserError
from ftlit.models.embeddings import check_token_ids
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
from ftlit.util.hub import pinned
from ftlit.util.options import options_of

if TYPE_CHECKING:
    from datasets import Dataset

# Options of the data whose values are those of the task's options of the same names.
FROM_TASK = [name for name, option in options_of("data").items() if option.source == f"model.{name}"]
BACKBONE = ("model.init_args.backbone", "model.init_args.revision")
# Arguments that are not part of a config, since they follow from others.
LINKED = {
    "trainer": {"default_root_dir"},
    "model": {*TASK_ARGUMENTS},
    "data": {name for name, option in options_of("data").items() if option.source},
}


def add_links(parser: LightningArgumentParser) -> None:
    """Link the arguments that data modules take from the model, and models from the data."""
    parser.link_arguments("run_dir", "trainer.default_root_dir")
    parser.link_arguments("run_dir", "trainer.logger.init_args.save_dir")
    parser.link_arguments("seed_everything", "data.init_args.order_seed")
    parser.link_arguments(BACKBONE, "data.init_args.backbone", compute_fn=pinned)
    for name in set(FROM_TASK) - {"backbone"}:
        parser.link_arguments(f"model.init_args.{name}", f"data.init_args.{name}")
    parser.link_arguments("model.class_path", "data.init_args.objective", compute_fn=objective_of)
    parser.link_arguments("model.init_args.tuning", "data.init_args.reserved_positions", compute_fn=positions_of)
    for name in TASK_ARGUMENTS:
        parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")


def objective_of(class_path: str) -> str | None:
    """The training objective of a language model, given its import path; None for other tasks."""
    from pydoc import locate

    return getattr(locate(class_path), "objective", None)


def positions_of(tuning: Any) -> int:
    """Number of positions that a tuning method needs for itself, from its configuration in the parser."""
    return getattr(_instance(tuning), "positions", 0)  # what is no tuning method is refused later


def _instance(config: Any) -> Any:
    from pydoc import locate

    if isinstance(config, list):
        return [_instance(item) for item in config]
    if not (isinstance(config, Namespace) and "class_path" in config):
        return config
    given = vars(config.get("init_args") or Namespace())
    return locate(config.class_path)(**{name: _instance(value) for name, value in given.items()})  # type: ignore[operator]


# The data whose batches a task understands. Classes outside the package that derive from none of these are left alone.
DATA_OF: dict[type, tuple[type, ...]] = {
    TextClassification: (TextClassificationData,),
    TextRegression: (TextRegressionData,),
    TokenClassification: (TokenClassificationData,),
    RelationExtraction: (RelationExtractionData,),
    QuestionAnswering: (QuestionAnsweringData,),
    MultipleChoice: (MultipleChoiceData,),
    Seq2Seq: (Seq2SeqData,),
    CausalLM: (CorpusData, ChatData),
    MaskedLM: (CorpusData,),
}


def check_pair(model: Any, data: Any) -> None:
    """Check that the class of the data makes batches that the class of the task understands.

    Raises:
        UserError: They are classes of different tasks.
    """
    wanted = next((DATA_OF[kind] for kind in inspect.getmro(model) if kind in DATA_OF), None)
    known = tuple(kind for kinds in DATA_OF.values() for kind in kinds)
    if wanted and issubclass(data, known) and not issubclass(data, wanted):
        names = " or ".join(kind.__name__ for kind in wanted)
        raise UserError(f"model {model.__name__} trains on data {names}, not on {data.__name__}; change one of the two")


def check_links(model: TaskModule, data: TaskData) -> None:
    """Check that a task and its data were created with the same values of shared arguments.

    Raises:
        UserError: Two values differ; the message says which one to pass.
    """
    check_pair(type(model), type(data))
    task = {name: model.hparams[name] for name in FROM_TASK if name in model.hparams}
    task |= {"objective": getattr(model, "objective", None), "reserved_positions": model.tuning.positions}
    for name, value in task.items():
        if name in data.hparams and data.hparams[name] != value:
            raise UserError(
                f"data.{name} is {data.hparams[name]!r}, but the model needs {value!r}; create {type(data).__name__} with "
                f"{name}={value!r}"
            )
    for name in TASK_ARGUMENTS:
        if name in model.hparams and hasattr(data, name) and model.hparams[name] != getattr(data, name):
            raise UserError(
                f"model.{name} is {model.hparams[name]!r}, but the data have {getattr(data, name)!r}; create "
                f"{type(model).__name__} with **data.task_arguments()"
            )


def check_vocabulary(model: TaskModule, data: TaskData) -> None:
    """Check that the model has an embedding for each token of the encoded splits.

    Raises:
        UserError: It has none for a token.
    """
    tables = {"input_ids": model.backbone.get_input_embeddings()}  # type: ignore[operator]
    if getattr(model.model.config, "is_encoder_decoder", False) and hasattr(model, "decoder"):
        tables["labels"] = model.model.get_output_embeddings()  # type: ignore[operator]
    tokenizers = {"input_ids": data.tokenizer, "labels": getattr(model, "tokenizer", data.tokenizer)}
    for encoded in data.encoded.values():
        for column, table in tables.items():
            for ids in _values(encoded, column):
                check_token_ids(ids, table, tokenizers[column], data.backbone)


def _values(encoded: "Dataset", column: str) -> Iterator[np.ndarray]:
    """The numbers in a column of lists, in parts."""
    for part in encoded.with_format("arrow")[column][:].chunks:
        while hasattr(part, "flatten") and hasattr(part.type, "value_type"):
            part = part.flatten()
        yield part.to_numpy(zero_copy_only=False)

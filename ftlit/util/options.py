"""What every option of a config affects, declared once.

All code that treats options differently derives its list from `OPTIONS`: the options that must be unchanged for ``--resume``,
those that decide the name of a study's cell or the time and memory that it needs, the short names of axes, the order of causes
in ``ftlit diff``, the options of an exported folder, those that the model and the data take from each other, and those that a
cached encoding depends on. Options of classes outside the package need not be declared, and are assumed to affect everything.
"""

from dataclasses import dataclass
from typing import Any, Literal

# rows: which rows are used, and their content. encoding: the features of a row, given the tokenizer, whose state is part of
# every cache key. order: which examples make up an optimizer step. training: the trained weights, given the same steps.
# evaluation: the metrics, and what is kept of an evaluation.
Effect = Literal["rows", "encoding", "order", "training", "evaluation"]

THIS_FOLDER = "<this folder>"  # a placeholder, since an exported folder may be moved
KEEP = object()  # an exported folder keeps the value of the run


@dataclass(frozen=True)
class Option:
    """Declaration of an option.

    Args:
        affects: The parts of a run that depend on the option. Empty if it does not change results.
        time: Whether the option changes the time or memory of a run.
        short: Short name of the option as an axis of a study, or None.
        moves: Whether the option is a path whose content matters, but not its name.
        file: Whether a text may name a file, a folder or a module, whose content identifies the data of a study.
        exported: Value of the option in an exported folder, if only training needs it.
        merged: Value of the option in an exported folder whose adapter is merged.
        source: The key from which the command line takes the value, or `data` for an attribute of the data module.
    """

    affects: frozenset[Effect]
    time: bool = True
    short: str | None = None
    moves: bool = False
    file: bool = False
    exported: Any = KEEP
    merged: Any = KEEP
    source: str | None = None


def _affects(*effects: Effect, **how: Any) -> Option:
    return Option(frozenset(effects), **how)


_ROWS, _COLUMN = _affects("rows"), _affects("encoding")
_FEATURES = _affects("encoding", "order")
_MODEL, _SCORES = _affects("training"), _affects("evaluation")
_NOTHING = _affects(time=False)

# In the order of `ftlit diff`: the likeliest causes of a difference between two runs come first.
OPTIONS: dict[str, Option] = {
    # Rows
    "data.class_path": _ROWS,
    "data.dataset": _affects("rows", file=True),
    "data.config_name": _ROWS,
    "data.revision": _ROWS,
    "data.splits": _ROWS,
    "data.shots": _affects("rows", short="shots"),
    "data.limit_train": _affects("rows", short="limit_train"),
    "data.limit_validation": _ROWS,
    "data.limit_test": _ROWS,
    "data.validation_share": _ROWS,
    "data.folds": _ROWS,
    "data.fold": _affects("rows", time=False, short="fold"),
    "data.seed": _affects("rows", time=False),
    "data.on_bad_rows": _ROWS,
    "data.exclude": _affects("rows", file=True, exported=None),
    "data.document_unit": _ROWS,
    "data.augment": _affects("rows", file=True, exported=None),
    "data.augmented_copies": _ROWS,
    "data.label_noise": _affects("rows", time=False, short="label_noise", exported=0.0),
    "data.rebalance": _affects("rows", exported=False),
    "data.replay": _affects("rows", short="replay", exported=None),
    "data.test_share": _ROWS,
    "data.unlabelled": _affects("rows", file=True, exported=None),
    "data.unlabelled_column": _ROWS,
    # Columns and features
    **{
        f"data.{column}": _COLUMN
        for column in (
            *("text", "text_pair", "label", "tokens", "tags", "entities", "head", "tail", "relation"),
            *("question", "context", "answers", "answer_start", "start", "choices", "source", "target"),
            *("messages", "dialog", "prompt", "prompt_input", "response", "system_column", "tools", "roles"),
        )
    },
    "data.group": _affects("evaluation", exported=None),
    "data.max_length": _affects("encoding", "order", short="max_length"),
    "data.max_target_length": _FEATURES,
    "data.label_names": _affects("encoding", file=True),
    "data.separator": _COLUMN,
    "data.scheme": _COLUMN,
    "data.align": _COLUMN,
    "data.stride": _FEATURES,
    "data.negative_windows": _affects("order"),
    "data.no_answer": _SCORES,
    "data.prefix": _COLUMN,
    "data.source_language": _COLUMN,
    "data.target_language": _COLUMN,
    "data.system": _FEATURES,
    "data.template": _affects("encoding", "order", file=True),
    "data.add_bos": _FEATURES,
    "data.add_tokens": _FEATURES,
    "data.train_on": _FEATURES,
    "data.isolate_documents": _FEATURES,
    "data.pad_token": _affects(merged=None),
    # Taken from the rest of the config
    "data.backbone": _affects(merged=THIS_FOLDER, source="model.backbone"),
    "data.decoder": _affects(merged=None, source="model.decoder"),
    "data.trust_remote_code": _affects(source="model.trust_remote_code", exported=False),
    "data.multi_label": _affects("encoding", source="model.multi_label"),
    "data.spans": _affects("encoding", source="model.spans"),
    "data.objective": _affects("encoding", "order", source="model.class_path"),
    "data.mask_probability": _affects("order", source="model.mask_probability"),
    "data.keep_special_tokens": _affects("encoding", source="model.keep_special_tokens"),
    "data.whole_words": _affects("encoding", "order", source="model.whole_words"),
    "data.next_sentence": _affects("encoding", "order", source="model.next_sentence"),
    "data.reserved_positions": _affects(source="model.tuning", merged=0),
    "data.order_seed": _affects("order", time=False, source="seed_everything"),
    # The model
    "model.class_path": _MODEL,
    "model.backbone": _affects("training", short="backbone", moves=True, merged=THIS_FOLDER),
    "model.revision": _affects("training", merged=None),
    "model.decoder": _affects("training", moves=True, merged=None),
    "model.pretrained": _affects("training", merged=True),
    "model.init_from": _affects("training", moves=True, exported=None),
    "model.tuning": _affects("training", short="tuning", merged={"class_path": "ftlit.tuning.Full"}),
    "model.head": _affects("training", short="head"),
    "model.loss": _affects("training", short="loss"),
    "model.teacher": _affects("training", moves=True, exported=None),
    "model.keep": _affects("training", short="keep", exported=None),
    "model.keep_layers": _affects("training", merged=None),
    "model.auxiliary": _affects("training", short="auxiliary", exported=None),
    "model.dropout": _MODEL,
    "model.gradient_checkpointing": _affects(exported=False),  # time and memory alone
    "model.trunk_cache": _affects("training", exported="auto"),  # in the last bits
    "model.teacher_cache": _affects("training", exported="auto"),
    "model.trust_remote_code": _affects("training", exported=False),  # whoever opens the folder decides
    "model.multi_label": _MODEL,
    "model.spans": _MODEL,
    "model.mask_probability": _MODEL,
    "model.whole_words": _MODEL,
    "model.next_sentence": _MODEL,
    # Training of the model
    "seed_everything": _affects("order", time=False),
    "model.optimizer.init_args.lr": _affects("training", time=False, short="lr"),
    "model.optimizer.init_args.weight_decay": _affects("training", time=False),
    "model.optimizer": _MODEL,
    "model.schedule": _affects("training", time=False),
    "model.warmup_ratio": _affects("training", time=False, short="warmup_ratio"),
    "model.layer_decay": _affects("training", time=False, short="layer_decay"),
    "model.head_lr_factor": _affects("training", time=False),
    "model.lr_factors": _affects("training", time=False),
    "trainer.max_epochs": _affects("order", short="max_epochs"),
    "trainer.max_steps": _affects("order"),
    "trainer.max_time": _affects("order"),
    "patience": _MODEL,
    "model.monitor": _MODEL,
    "data.batching.init_args.batch_size": _affects("order", short="batch_size"),
    "data.batching": _affects("order"),
    "data.packing": _affects("order"),
    "trainer.accumulate_grad_batches": _affects("order"),
    "trainer.gradient_clip_val": _MODEL,
    "trainer.gradient_clip_algorithm": _MODEL,
    "trainer.precision": _affects("training", short="precision"),
    # Taken from the data
    "model.label_names": _affects("training", source="data"),
    "model.label_counts": _affects("training", source="data"),
    "model.label_scale": _affects("training", source="data"),
    "model.pad_token_id": _affects("training", source="data"),
    "model.stop_id": _affects("training", source="data"),
    "model.add_tokens": _affects("training", source="data"),
    "model.added_tokens": _affects("training", source="data", merged=[]),  # they are part of the vocabulary then
    "model.no_answer": _affects("evaluation", source="data"),
    "model.max_target_length": _affects("evaluation", source="data"),
    # Evaluation
    "model.negative_label": _SCORES,
    "model.n_best": _SCORES,
    "model.max_answer_tokens": _SCORES,
    "model.no_answer_threshold": _SCORES,
    "model.generation": _SCORES,
    "model.metrics": _SCORES,
    "model.pattern": _SCORES,
    "model.pattern_select": _SCORES,
    "model.answer_rules": _SCORES,
    "model.keep_special_tokens": _SCORES,
    "model.samples": _SCORES,
    "model.generate_every_n_epochs": _SCORES,
    "model.generate_limit": _SCORES,
    "evaluate_untrained": _SCORES,
    # Undeclared options, such as those of classes outside the package or of Lightning's Trainer
    "data": _affects("rows", "encoding", "order", file=True),
    "model": _affects("training", "evaluation"),
    "trainer": _affects("order"),
    # Options that do not change results
    "data.num_workers": _affects(exported=0),
    "data.cache_limit": _affects(),
    "trainer.logger": _NOTHING,
    "trainer.log_every_n_steps": _NOTHING,
    "trainer.enable_progress_bar": _NOTHING,
    "trainer.enable_model_summary": _NOTHING,
    "test_after_fit": _affects(),
    "training_checks": _affects(),
    "save_every_n_steps": _affects(),
    "keep_last": _affects(),
    "run_dir": _NOTHING,
    "resume": _NOTHING,
    "overwrite": _NOTHING,
    "plan": _NOTHING,
    "ckpt_path": _affects("training", moves=True),
    "weights_only": _NOTHING,
    "trust_classes": _NOTHING,
}


def option(key: str) -> Option:
    """The declaration of a key of the config, or of the innermost part of it that is declared.

    Args:
        key: Dotted key, with or without ``init_args``.
    """
    return OPTIONS[declared(key)]


def declared(key: str) -> str:
    """The innermost part of a key that is declared, such as ``model.tuning`` of ``model.tuning.r``."""
    parts = key.split(".")
    for count in range(len(parts), 0, -1):
        if (found := _BY_SHORT_KEY.get(".".join(parts[:count]))) is not None:
            return found
    raise KeyError(f"no option of the config is called {key!r}")


def without_init_args(key: str) -> str:
    """The short form of a key on the command line: ``model.optimizer.lr`` for ``model.optimizer.init_args.lr``."""
    return key.replace(".init_args", "")


_BY_SHORT_KEY = {**{without_init_args(key): key for key in OPTIONS}, **{key: key for key in OPTIONS}}


def options_of(section: str) -> dict[str, Option]:
    """The declared options of the section `model` or `data`, by their names in this section."""
    prefix = f"{section}."
    return {key.removeprefix(prefix): found for key, found in OPTIONS.items() if key.startswith(prefix)}

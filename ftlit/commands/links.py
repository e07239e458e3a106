"""What the parts of a config take from each other, so that nobody writes it twice."""

from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from ftlit.data.shared.base import TASK_ARGUMENTS

MASKING = ("mask_probability", "whole_words", "next_sentence")  # options of MaskedLM that its data follow


def add_links(parser: LightningArgumentParser) -> None:
    """Let data modules know what they need of the model, and models what they need of the data."""
    links = {
        "run_dir": ("trainer.default_root_dir", "trainer.logger.init_args.save_dir"),
        "seed_everything": ("data.init_args.order_seed",),
        "model.init_args.backbone": ("data.init_args.backbone",),
        "model.init_args.multi_label": ("data.init_args.multi_label",),
        "model.init_args.spans": ("data.init_args.spans",),
        "model.init_args.trust_remote_code": ("data.init_args.trust_remote_code",),
        "model.init_args.decoder": ("data.init_args.decoder",),
        **{f"model.init_args.{name}": (f"data.init_args.{name}",) for name in MASKING},
    }
    for source, targets in links.items():
        for target in targets:
            parser.link_arguments(source, target)
    parser.link_arguments("model.class_path", "data.init_args.objective", compute_fn=objective_of)
    parser.link_arguments("model.init_args.tuning", "data.init_args.reserved_positions", compute_fn=positions_of)
    for name in TASK_ARGUMENTS:
        parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")


def objective_of(class_path: str) -> str | None:
    """What a language model, named by its import path, is trained to predict; None for other tasks."""
    from pydoc import locate

    return getattr(locate(class_path), "objective", None)


def positions_of(tuning: Any) -> int:
    """Positions that a tuning method takes for itself, from its configuration as the parser has it."""
    return _instance(tuning).positions


def _instance(config: Any) -> Any:
    from pydoc import locate

    if isinstance(config, list):
        return [_instance(item) for item in config]
    if not (isinstance(config, Namespace) and "class_path" in config):
        return config
    given = vars(config.get("init_args") or Namespace())
    return locate(config.class_path)(**{name: _instance(value) for name, value in given.items()})  # type: ignore[operator]

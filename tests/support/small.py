"""Small modules and batches that tests build directly, without the command line."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftlit.tasks import TaskModule, TextClassification

LENGTHS = (3, 11, 6, 8)
# Settings of a Trainer that trains and does nothing else.
QUIET: dict[str, Any] = {
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    "limit_val_batches": 0,
}


def without_dropout(folder: str, to: Path) -> str:
    """A copy of a model's folder whose configuration has no dropout."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    off = {key: 0.0 for key, value in config.items() if isinstance(value, float) and ("drop" in key)}
    (to / "config.json").write_text(json.dumps({**config, **off}))
    return str(to)


def ragged_batch(labels: int = 2, seed: int = 0) -> dict[str, Any]:
    """A batch of four texts of 3 to 11 tokens, as `collate` makes it."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(LENGTHS), max(LENGTHS))
    mask = (torch.arange(size[1]) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(4, 100, size, generator=generator) * mask
    targets = torch.arange(len(LENGTHS)) % labels
    return {"input_ids": ids, "attention_mask": mask, "labels": targets, "loss_denominator": float(len(LENGTHS))}


def classifier(backbone: str, seed: int = 0, **options: Any) -> TextClassification:
    """A classifier of two labels whose fresh weights come from a seed."""
    torch.manual_seed(seed)
    return TextClassification(label_names=["bad", "good"], backbone=backbone, pad_token_id=0, **options)


def logits_of(module: TaskModule, batch: dict[str, Any]) -> Tensor:
    """Logits in evaluation mode; the modes of the parts stay as they are."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    with torch.no_grad():
        logits = module(batch).logits
    for part, training in modes:
        part.training = training
    return logits


def saved(module: TaskModule) -> dict[str, Any]:
    """A checkpoint as it comes back from a file."""
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    return torch.load(file, weights_only=True)

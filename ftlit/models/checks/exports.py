"""Folders of exports that are no backbones."""

from pathlib import Path

from ftlit.errors import UserError

GRAPHS = {"*model.onnx": ("a graph of ONNX", "onnx"), "model.pt2": ("a program of torch.export", "torch")}


def no_backbone(backbone: str, folder: Path) -> UserError | None:
    """The error for a backbone that is an export without weights for transformers; None if it is something else."""
    if (file := folder / "model.gguf").is_file():
        return UserError(f"model.backbone {backbone!r} is an export in GGUF; name the file in it: {file}")
    for names, (kind, form) in GRAPHS.items():
        if any(folder.glob(names)):
            return UserError(
                f"model.backbone {backbone!r} is {kind}, whose weights cannot be trained; use the run from which it was "
                f"exported, or export that once more without --format {form}"
            )
    return None

"""ftlit: fine-tune pretrained language models with PyTorch Lightning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftlit.exports.predict import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # imported where used, so that `ftlit --help` does not wait for torch
        from ftlit.exports.predict import load

        return load
    raise AttributeError(f"module 'ftlit' has no attribute {name!r}")

"""The interface of tuning methods."""

from abc import ABC, abstractmethod

from torch import nn


class Tuning(ABC):
    """Chooses which weights of the backbone train, in place or by wrapping it.

    The head and weights that the pretrained files lack are no business of a method: they always train.
    """

    @abstractmethod
    def apply(self, backbone: nn.Module) -> nn.Module:
        """The backbone to train in place of `backbone`; weights that must not move have ``requires_grad=False``."""

    def merge(self, backbone: nn.Module) -> nn.Module:
        """The tuned backbone as a plain Hugging Face model again."""
        return backbone

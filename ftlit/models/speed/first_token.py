"""Classifiers that read one token compute the upper part of their last layer for this token alone."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ftlit.models.layer_depths import layer_stack

# Heads of transformers that read the last layer at the first token only, as BERT's pooler does.
FAMILIES = ("Bert", "Roberta", "XLMRoberta", "Camembert", "Electra")
READ_FIRST = {f"{family}ForSequenceClassification" for family in FAMILIES}


def compute_first_token_only(model: nn.Module, backbone: nn.Module) -> bool:
    """Let the last layer go on with the first token after its attention, if the model reads no other.

    Its attention still sees all tokens, and logits stay what they were. All that follows in this layer, three quarters of its
    products, is done for one token of each text instead of all. The backbone by itself still returns all tokens.

    Args:
        model: The classifier.
        backbone: The backbone inside it, tuned or not.

    Returns:
        Whether it does so now. False for other models, and for a last layer that is frozen, whose outputs may be stored.
    """
    if type(model).__name__ not in READ_FIRST:
        return False
    top: Any = layer_stack(backbone)[1][-1]
    if not any(weight.requires_grad for weight in top.parameters()):
        return False
    top.first_token = FirstToken(model, top.attention.output)
    return True


class FirstToken:
    """Keeps the first token at a module inside a model, while the model is called.

    Args:
        model: The model.
        block: The module after the attention of the last layer. Its inputs are ``(batch, tokens, width)``.
    """

    def __init__(self, model: nn.Module, block: nn.Module) -> None:
        self.called = False
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._end, always_call=True)
        block.register_forward_pre_hook(self._keep)

    def as_now(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A forward pass of the layer that keeps the tokens it would keep now, whenever it is called."""
        called = self.called

        def again(*args: Any, **kwargs: Any) -> Any:
            before, self.called = self.called, called
            try:
                return forward(*args, **kwargs)
            finally:
                self.called = before

        return again

    def _begin(self, model: nn.Module, inputs: Any) -> None:
        self.called = True

    def _end(self, model: nn.Module, inputs: Any, output: Any) -> None:
        self.called = False

    def _keep(self, block: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(value[:, :1] for value in inputs) if self.called else inputs

"""What a model must be to be traced: merged, called with tensors, and with an example of more than one text and token."""

from contextlib import suppress

from torch import Tensor, nn

from ftlit.errors import UserError
from ftlit.exports.merge import merge, plain_embeddings, plain_head
from ftlit.tasks import TaskModule
from ftlit.tuning.prompted_backbone import PromptedBackbone

ROWS, TOKENS = 2, 3  # fewest in the example: the exporter takes a size of 1 for one that never changes


def check_whole_weights(task: TaskModule, format: str) -> None:
    """Check that the weights of a task are not rounded to a few bits.

    Raises:
        UserError: They are.
    """
    if getattr(task.model.config, "quantization_config", None) is not None:
        raise UserError(
            f"--format {format} has no weights of 4 bits as those of model.tuning {type(task.tuning).__name__}; use "
            "--adapter-only, or train with LoRA"
        )


def merge_if_possible(task: TaskModule) -> None:
    """Merge the tuning method into the weights of the backbone; what cannot be merged, such as a prompt, stays in the model."""
    with suppress(UserError):
        merge(task)
    for part in list(task.backbone.modules()):
        if isinstance(part, PromptedBackbone):
            part.freeze_prompt()
    plain_embeddings(task.backbone)
    if task.pretrained_head:
        plain_head(task.model)


class Traced(nn.Module):
    """A model with tensors as its only arguments and outputs.

    Args:
        model: The model.
        inputs: Names of its arguments.
        outputs: Names of its outputs.
    """

    def __init__(self, model: nn.Module, inputs: list[str], outputs: list[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for the arguments, both in the order of their names."""
        found = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(getattr(found, name) for name in self.outputs)


def stretched(inputs: dict[str, Tensor], rows: int, tokens: int) -> dict[str, Tensor]:
    """Repeat the texts and the tokens of a batch, or leave some of them out.

    Args:
        inputs: Arguments of a model; those of the shape of ``input_ids`` have a value for each token.
        rows: Number of texts.
        tokens: Number of tokens of each.
    """
    shape = inputs["input_ids"].shape
    found = {}
    for name, value in inputs.items():
        every = value.repeat(-(-rows // shape[0]), *([1] * (value.dim() - 1)))[:rows]
        found[name] = every.repeat(1, -(-tokens // shape[1]))[:, :tokens] if value.shape == shape else every
    return found

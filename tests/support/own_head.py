"""A head of a user: twice the logits of a linear layer on the first token."""

from typing import Any

from torch import Tensor, nn
from transformers import AutoModel
from transformers.modeling_outputs import SequenceClassifierOutput

from ftlit.heads import Head, Load


class Doubled(Head):
    """Twice the logits of a linear layer on the first token."""

    def build(self, load: Load, auto_class: Any, config: dict[str, Any]) -> tuple[nn.Module, list[nn.Parameter]]:
        backbone, _ = load(AutoModel, **config)
        model = DoubledModel(backbone, config["num_labels"])
        return model, list(model.head.parameters())


class DoubledModel(nn.Module):
    base_model_prefix = "backbone"

    def __init__(self, backbone: Any, num_labels: int) -> None:
        super().__init__()
        backbone.pooler = None  # unused
        self.backbone, self.config = backbone, backbone.config
        self.head = nn.Linear(backbone.config.hidden_size, num_labels)

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        hidden = self.backbone(attention_mask=attention_mask, **inputs).last_hidden_state[:, 0]
        return SequenceClassifierOutput(logits=2 * self.head(hidden))

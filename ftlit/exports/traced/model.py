"""Run what was traced from a model in place of that model."""

from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

SEGMENTS = "token_type_ids"  # which models of transformers take for zeros where they are not given


class Graph(Protocol):
    """What was traced from a model; called with its arguments by their names, it returns its outputs in their order."""

    inputs: list[str]
    outputs: list[str]
    own_threads: bool  # whether it computes on other threads than those of PyTorch

    def __call__(self, inputs: dict[str, Tensor]) -> list[Tensor]: ...


class GraphBackbone(nn.Module):
    """A graph that is called like a backbone of transformers.

    Its ``last_hidden_state`` is the first output of the graph, so that code that chooses tokens between backbone and head,
    such as that of language models, chooses among their logits.

    Args:
        graph: The graph.
        table: Embeddings of the model, for their number alone.
        config: Configuration of the model.
    """

    def __init__(self, graph: Graph, table: nn.Embedding, config: Any) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.first, *self.others = graph.outputs
        self._tables = [table]  # not a part of the module, since its weights have no memory

    def get_input_embeddings(self) -> nn.Embedding:
        """Return a table with the size of the embeddings."""
        return self._tables[0]

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        """Return the outputs of the graph for tensors with the names of its inputs."""
        if SEGMENTS in {*self.graph.inputs} - inputs.keys():
            inputs[SEGMENTS] = torch.zeros_like(inputs["input_ids"])
        device = next(iter(inputs.values())).device
        first, *others = (value.to(device) for value in self.graph(inputs))
        return SimpleNamespace(last_hidden_state=first, **dict(zip(self.others, others, strict=True)))


class GraphModel(nn.Module):
    """A graph that is called like the model from which it was made, and returns outputs of the same names.

    Args:
        graph: The graph.
        model: That model; its weights are not used.
    """

    base_model_prefix = "backbone"

    def __init__(self, graph: Graph, model: Any) -> None:
        super().__init__()
        base = getattr(model, model.base_model_prefix, model)
        self.backbone, self.config = GraphBackbone(graph, base.get_input_embeddings(), model.config), model.config
        self.own_threads = graph.own_threads

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        """Return the outputs of the graph for tensors with the names of its inputs."""
        found = vars(self.backbone(**inputs))
        return SimpleNamespace(**{self.backbone.first: found.pop("last_hidden_state"), **found})

"""Script that computes the outputs of an exported folder with transformers and peft only, run by `ftlit.exports.verify`."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


def main(folder: Path) -> None:
    """Run a model on inputs and save its outputs.

    Args:
        folder: Folder with ``plan.json`` and ``inputs.safetensors``. ``found.safetensors`` is written to it.
    """
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    model = open_model(plan).eval()
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in load_file(folder / "inputs.safetensors").items()}
    with torch.inference_mode():
        output = model(**inputs, **plan["settings"])
    kept = {name: output[name] for name in plan["outputs"]}
    save_file({name: value.float().cpu().contiguous() for name, value in kept.items()}, folder / "found.safetensors")


def open_model(plan: dict[str, Any]) -> Any:
    """Load the model of a folder, or the base model with the adapter of a folder."""
    import transformers

    kind = getattr(transformers, plan["auto_class"])
    options: dict[str, Any] = {"trust_remote_code": plan["trust_remote_code"]}
    if plan["gguf_file"]:
        check_gguf(plan["folder"], plan["gguf_file"])
        options |= {"gguf_file": plan["gguf_file"], "dtype": torch.float32}
    if plan["base"] is None:
        return kind.from_pretrained(plan["folder"], **options)
    from peft import PeftModel

    if plan["quantization"]:
        options["quantization_config"] = transformers.BitsAndBytesConfig(**plan["quantization"])
    if plan["revision"]:
        options["revision"] = plan["revision"]
    base = kind.from_pretrained(plan["base"], dtype=torch.float32, **options)
    restore(base, load_file(f"{plan['folder']}/head.safetensors"), plan["added_tokens"])
    return PeftModel.from_pretrained(base, plan["folder"])


def check_gguf(folder: str, name: str) -> None:
    """Read a file with gguf's own reader."""
    from gguf import GGUFReader, dequantize

    for tensor in GGUFReader(f"{folder}/{name}").tensors:
        if list(dequantize(tensor.data, tensor.tensor_type).shape) != list(reversed(tensor.shape.tolist())):
            raise ValueError(f"the tensor {tensor.name} in {name} has another shape than its data")


def restore(base: Any, weights: dict[str, torch.Tensor], added_tokens: list[int]) -> None:
    """Load the trained weights of a base model that are not in its adapter.

    Args:
        base: The base model, modified in place.
        weights: Weights of the base model, whose names start with ``backbone.``, among others. The embeddings of added tokens
            are named ``extra``.
        added_tokens: Ids of the added tokens.
    """
    own_names = {name for name in weights if name.startswith("backbone.")}
    own = {name.removeprefix("backbone."): value for name, value in weights.items() if name.startswith("backbone.")}
    extra = next((own.pop(name) for name in list(own) if name.endswith(".extra")), None)
    if extra is not None:
        rows = max(base.get_input_embeddings().num_embeddings, max(added_tokens) + 1)
        base.resize_token_embeddings(rows, mean_resizing=False)
        base.get_input_embeddings().weight.data[added_tokens] = extra
    head = base.get_output_embeddings()
    output = next((value for name, value in weights.items() if name.endswith(".extra") and name not in own_names), None)
    if output is not None and head is not None:  # the output of a language model
        head.weight.data[added_tokens] = output
    if unexpected := base.load_state_dict(own, strict=False).unexpected_keys:
        raise ValueError(f"the base model has no weights {unexpected}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What an exported folder gives to transformers and peft alone: a script that `ftlit.exports.verify` runs."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


def main(folder: Path) -> None:
    """Run a model on inputs and keep its outputs.

    Args:
        folder: Holds ``plan.json`` and ``inputs.safetensors``; ``found.safetensors`` is written there.
    """
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    model = opened(plan).eval()
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in load_file(folder / "inputs.safetensors").items()}
    with torch.inference_mode():
        output = model(**inputs, **plan["settings"])
    kept = {name: output[name] for name in plan["outputs"]}
    save_file({name: value.float().cpu().contiguous() for name, value in kept.items()}, folder / "found.safetensors")


def opened(plan: dict[str, Any]) -> Any:
    """The model of a folder, with its adapter where it is one."""
    import transformers

    kind = getattr(transformers, plan["auto_class"])
    trust: dict[str, Any] = {"trust_remote_code": True} if plan["trust_remote_code"] else {}
    if plan["base"] is None:
        return kind.from_pretrained(plan["folder"], **trust)
    from peft import PeftModel

    if plan["quantization"]:
        trust["quantization_config"] = transformers.BitsAndBytesConfig(**plan["quantization"])
    base = kind.from_pretrained(plan["base"], dtype=torch.float32, **trust)
    restore(base, load_file(f"{plan['folder']}/head.safetensors"), plan["added_tokens"])
    return PeftModel.from_pretrained(base, plan["folder"])


def restore(base: Any, weights: dict[str, torch.Tensor], added_tokens: list[int]) -> None:
    """Put into a base those of its weights that trained outside of the adapter.

    Args:
        base: The base, changed in place.
        weights: Its weights under names that begin with ``backbone.``, and others; the embeddings of added tokens are
            called ``extra``.
        added_tokens: Ids of these tokens.
    """
    own = {name.removeprefix("backbone."): value for name, value in weights.items() if name.startswith("backbone.")}
    extra = next((own.pop(name) for name in list(own) if name.endswith(".extra")), None)
    if extra is not None:
        rows = max(base.get_input_embeddings().num_embeddings, max(added_tokens) + 1)
        base.resize_token_embeddings(rows, mean_resizing=False)
        base.get_input_embeddings().weight.data[added_tokens] = extra
    if unexpected := base.load_state_dict(own, strict=False).unexpected_keys:
        raise ValueError(f"the base has no weights {unexpected}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

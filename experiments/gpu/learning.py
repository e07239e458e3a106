"""Checks that models learn: all weights, by LoRA and QLoRA, as language models; in the right precision and memory."""

from importlib.util import find_spec
from pathlib import Path

import torch
from bench import Bench, Skipped, expect, read_json
from fits import classification, common, cost_of, full, full_options, losses, precision_of, weights
from material import llama, texts


def fit(bench: Bench) -> None:
    """BERT-base learns: the loss falls, and the evaluation is better than that of the untrained model."""
    run = bench.fit("full", full_options(bench))
    results = read_json(run / "results.json")
    untrained, trained = results["before"]["test"]["accuracy"], results["test"]["accuracy"]
    bench.note(untrained_accuracy=untrained)
    _learned(bench, run)
    expect(trained > untrained + 0.2, f"accuracy on test is {trained:.3f}, untrained {untrained:.3f}")


def lora(bench: Bench) -> None:
    """A Llama of 1.1B learns by LoRA, which trains a small share of its weights."""
    share = _low_rank(bench, "LoRA")
    expect(bench.dry or share < 0.05, f"{share:.1%} of the weights trained")


def qlora(bench: Bench) -> None:
    """The same with a backbone of 4 bits, which takes less memory."""
    if bench.dry:
        raise Skipped("weights of 4 bits are meant for GPUs")
    if find_spec("bitsandbytes") is None:
        raise Skipped("bitsandbytes is not installed")
    _low_rank(bench, "QLoRA")
    if bench.finished("lora"):
        share = bench.figures["peak_memory_bytes"] / cost_of(bench.run_dir("lora"))["peak_memory_bytes"]
        bench.note(memory_share_of_lora=share)
        expect(share < 0.9, f"QLoRA takes {share:.2f} of the memory of LoRA")


def causal_lm(bench: Bench) -> None:
    """A Llama learns the made-up language by LoRA, its documents in shared blocks that do not see each other."""
    data = ["--data=CorpusData", f"--data.dataset={texts(bench)}", "--data.text=sentence", "--data.max_length=256"]
    length = [f"--data.limit_train={4 * bench.sizes.few_rows}", "--data.batching=LengthGrouped", "--data.batching.batch_size=4"]
    model = ["--model=CausalLM", "--model.tuning=LoRA", *common(llama(bench), bench.sizes.rates[1])]
    run = bench.fit("causal-lm", [*model, *data, *length, "--trainer.max_epochs=1", "--keep_last=false"])
    first, last = losses(run)
    perplexity = read_json(run / "results.json")["validation"]["perplexity"]
    bench.note(first_loss=first, last_loss=last, perplexity=perplexity, **cost_of(run))
    expect(last < 0.95 * first, f"the loss went from {first:.4f} to {last:.4f}: it should fall by a twentieth at least")


def precision(bench: Bench) -> None:
    """The default is bf16-mixed where the hardware multiplies bfloat16, and weights stay in float32."""
    run = full(bench)
    used = precision_of(run)
    kinds = {str(weight.dtype) for weight in weights(run).values() if weight.is_floating_point()}
    bench.note(precision=used, weights=sorted(kinds))
    expect(kinds == {"torch.float32"}, f"trained weights are {kinds}")
    if torch.cuda.is_available():
        wanted = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        expect(used == wanted, f"precision is {used}, expected {wanted}")


def memory(bench: Bench) -> None:
    """results.json records the memory that a run took, and on a GPU what was reserved."""
    cost = read_json(full(bench) / "results.json")["efficiency"]
    taken, reserved = cost["peak_memory_bytes"], cost.get("peak_reserved_bytes")
    least = 16 * cost["trained_parameters"]  # weight, gradient and both moments of AdamW in float32
    bench.note(peak_memory_bytes=taken, least_that_full_tuning_needs_bytes=least)
    expect(taken >= least, f"{taken} bytes are less than the {least} of weights, gradients and moments")
    if torch.cuda.is_available():
        limit = torch.cuda.get_device_properties(0).total_memory
        bench.note(peak_reserved_bytes=reserved)
        expect(taken <= (reserved or 0) <= limit, f"{taken} bytes allocated, {reserved} reserved, the GPU has {limit}")


def _low_rank(bench: Bench, method: str) -> float:
    """Train a Llama by a method; return the share of its weights that trained."""
    length = [f"--data.limit_train={bench.sizes.fit_rows}", "--trainer.max_epochs=2", "--test_after_fit=true"]
    given = classification(bench, llama(bench), bench.sizes.rates[1], f"--model.tuning={method}", *length)
    run = bench.fit(method.lower(), given)
    share = read_json(run / "results.json")["efficiency"]["trained_share"]
    bench.note(trained_share=share)
    _learned(bench, run)
    return share


def _learned(bench: Bench, run: Path) -> None:
    """Fail unless the loss fell and most of the test texts, which are easy, are right."""
    accuracy, (first, last) = read_json(run / "results.json")["test"]["accuracy"], losses(run)
    bench.note(first_loss=first, last_loss=last, test_accuracy=accuracy, **cost_of(run))
    fell = f"the loss went from {first:.4f} to {last:.4f}"
    expect(last < 0.8 * first, f"{fell}: it should fall by a fifth at least")
    expect(accuracy > 0.8, f"{fell}, and accuracy on test is only {accuracy:.3f}")

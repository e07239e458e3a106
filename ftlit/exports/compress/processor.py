"""The processor, and those of its instructions on which the speed of small numbers depends."""

from ftlit.util.machine import processor_facts
from ftlit.util.private import cpu_multiplies_bfloat16

# Those of x86 by increasing power, then those of ARM, as the system names them.
INSTRUCTIONS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimddp", "i8mm", "bf16", "asimdhp"),
)
FLOAT16 = {"avx512_fp16", "amx_fp16", "asimdhp"}
SUMS_OF_8_BITS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}


def instructions() -> list[str]:
    """The instructions in `INSTRUCTIONS` that this processor has; none if the system does not tell."""
    facts = processor_facts()
    known = {word for name in ("flags", "Features") for word in facts.get(name, "").split()}
    return [name for name in INSTRUCTIONS if name in known]


def computes_in(dtype: str) -> bool:
    """Whether the processor multiplies numbers of 16 bits, `float16` or `bfloat16`, without making them longer first."""
    known = set(instructions())
    return bool(known & FLOAT16) if dtype == "float16" else "bf16" in known or cpu_multiplies_bfloat16()


def multiplies_8_bits() -> bool:
    """Whether the processor has instructions for sums of products of 8 bits."""
    return bool(SUMS_OF_8_BITS & set(instructions()))

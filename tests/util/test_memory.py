"""Freed memory stays in the process between steps."""

import sys

import pytest
import torch

from ftlit.util.machine import keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts page faults of a thread like this")
def test_a_large_tensor_is_given_the_memory_of_the_last_one() -> None:
    import resource

    def faults() -> int:
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)  # 64 MiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun

    assert keep_freed_memory()
    faults()
    assert faults() < 200

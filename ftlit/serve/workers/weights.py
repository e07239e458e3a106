"""The weights of a model in memory that processes share: the first of them writes them there, and the others find them.

They are what the model computes with, whatever they were made from: another data type, an adapter, several files.
"""

import ctypes
import hashlib
import os
import zlib
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ftlit.serve.workers.memory import is_sealed, mapped_to_read, seal

ALIGNED = 64  # bytes between the beginnings of tensors, as PyTorch allocates them
SMALLEST = 4096  # bytes, a page of memory


def share_weights(model: nn.Module, memory: Callable[[str], int]) -> int:
    """Let a model use weights that are in memory once, for all processes that call this in turn.

    Args:
        model: The model.
        memory: Returns the file descriptor of memory for weights with this hash, which is empty or has these weights.

    Returns:
        Number of bytes that are shared.
    """
    tensors = _tensors(model)
    if not tensors:
        return 0
    descriptor = memory(_hash(tensors))
    if not is_sealed(descriptor):
        _write(tensors, descriptor)
    every = torch.frombuffer(mapped_to_read(descriptor), dtype=torch.uint8)
    os.close(descriptor)
    for tensor, begin in zip(tensors, _places(tensors), strict=True):
        tensor.data = every[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
    _give_back()
    return sum(tensor.nbytes for tensor in tensors)


def _tensors(model: nn.Module) -> list[Tensor]:
    """The weights and buffers that can be shared, each once. Small ones and those of quantized layers are not worth it."""
    found = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return [tensor for tensor in found.values() if _is_plain(tensor) and tensor.nbytes >= SMALLEST]


def _is_plain(tensor: Tensor) -> bool:
    is_array = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_quantized
    return is_array and tensor.device.type == "cpu" and tensor.is_contiguous()


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().flatten().view(torch.uint8).numpy()


def _places(tensors: list[Tensor]) -> list[int]:
    """Where each begins."""
    found, end = [], 0
    for tensor in tensors:
        found.append(end)
        end += -(-tensor.nbytes // ALIGNED) * ALIGNED
    return found


def _hash(tensors: list[Tensor]) -> str:
    """A hash of values, types and shapes; the checksums are several times as fast as a hash of all bytes."""
    found = [(tensor.dtype, tensor.shape, zlib.crc32(_bytes(tensor))) for tensor in tensors]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _write(tensors: list[Tensor], descriptor: int) -> None:
    """Write weights; what another process has begun to write is written again."""
    with open(descriptor, "wb", closefd=False) as file:
        for tensor, begin in zip(tensors, _places(tensors), strict=True):
            file.seek(begin)
            file.write(_bytes(tensor))
    seal(descriptor)


def _give_back() -> None:
    """Give memory that has become free back to the system, which the allocator of glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

"""A quicker start: what Lightning and its neighbours do while they are imported, and nobody needs."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def fast_imports() -> Iterator[None]:
    """Inside, imports collect no garbage and leave scipy.signal out.

    The collector would look through thousands of new modules again and again, and once more at the end of the process:
    frozen, they are passed over from then on. torchmetrics imports scipy.signal, a second, to patch it for one of its
    speech metrics; afterwards it can be imported as ever.
    """
    name, stub = "scipy.signal", ModuleType("scipy.signal")
    absent = name not in sys.modules
    stub.hamming = None  # type: ignore[attr-defined]  # looks patched already
    if absent:
        sys.modules[name] = stub
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
        if absent and sys.modules.get(name) is stub:
            del sys.modules[name]

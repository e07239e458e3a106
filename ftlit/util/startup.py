"""The start of a command: faster imports, and no messages that users cannot act on."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

FALSE_ALARMS = (
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*does not have many workers.*",
    r".*sync_dist=True.*when logging on epoch level.*",  # the values are synchronised by their metrics
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*smaller than the logging interval.*",
    r".*No (positive|negative) samples in targets.*",
    r".*`is_gradient_checkpointing`.*",
    r".*exists and is not empty.*",
    r".*The `srun` command is available.*",
    r".*You are using `torch.load` with `weights_only.*",
    r".*module\(s\) in eval mode at the start of training.*",  # a linear probe keeps its backbone there
    r".*recommended to use `Trainer\(devices=1, num_nodes=1\)`.*",  # every example is evaluated exactly once here
    r".*lr_scheduler.step\(\)` before `optimizer.step.*",
    r".*exclude_modules=.* but no modules were excluded.*",  # of the pooler, which not every backbone has
    r".*`SpearmanCorrcoef` will save all targets.*",
)


def quiet() -> None:
    """Silence the tips, load reports and false alarms of libraries, but not their errors and real warnings."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of calls inside Lightning
    for pattern in FALSE_ALARMS:
        warnings.filterwarnings("ignore", message=pattern)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


@contextmanager
def fast_imports() -> Iterator[None]:
    """Disable garbage collection for the imports inside, exclude the imported objects from it later, and skip scipy.signal.

    Otherwise the collector traverses thousands of new modules again and again, and once more when the process ends.
    torchmetrics imports scipy.signal, which takes a tenth of the time of ``fit --help``, to patch it for a speech metric. A
    placeholder is imported instead, and removed afterwards.
    """
    name, placeholder = "scipy.signal", ModuleType("scipy.signal")
    absent = name not in sys.modules
    placeholder.hamming = None  # type: ignore[attr-defined]  # looks patched already
    if absent:
        sys.modules[name] = placeholder
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
        if absent and sys.modules.get(name) is placeholder:
            del sys.modules[name]

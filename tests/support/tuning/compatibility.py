"""The page of what goes with what, from the tables of the tests; ``python -m tests.support.tuning.compatibility`` writes it."""

from collections.abc import Callable, Sequence

from tabulate import tabulate

from tests.support.command_line import ROOT
from tests.support.tuning.methods import ARCHITECTURES, GAPS, METHODS, PRECISION_GAPS, PRECISIONS, Gap
from tests.tasks import test_matrix as tasks

PAGE = ROOT / "experiments/results/compatibility.md"
SETTINGS = {
    "Full-embeddings": "Full(embeddings=False)",
    "DoRA": "LoRA(dora=True)",
    "rsLoRA": "LoRA(rslora=True)",
    "PiSSA": "LoRA(init=pissa)",
    "OLoRA": "LoRA(init=olora)",
    "LoRA-layer": "LoRA(layers=[1, 1])",
    "Houlsby": "BottleneckAdapter(houlsby)",
    "Pfeiffer": "BottleneckAdapter(pfeiffer)",
    "PromptTuning-text": "PromptTuning(init=text)",
    "PromptTuning-random": "PromptTuning(init=random)",
    "PTuning-lstm": "PTuning(encoder=lstm)",
    "PrefixTuning-projection": "PrefixTuning(projection=True)",
    "HeadFirst-LoRA": "HeadFirst(then=LoRA)",
    "LoRA+BitFit": "Combined(LoRA, BitFit)",
    "LoRA+PromptTuning": "Combined(LoRA, PromptTuning)",
    **{name: f"Peft({name.upper()})" for name in ("VeRA", "LoHa", "LoKr", "OFT", "BOFT", "HRA", "FourierFT")},
}
INTRODUCTION = """# What goes with what

Written by `python -m tests.support.tuning.compatibility` from the tables of the tests; a test checks that it is up to date. A
**yes** is a test that ran on a tiny model of the architecture: three optimizer steps by Lightning move exactly the weights that
the method names, a fresh module that loads the checkpoint says the same bit for bit, and where the method merges, the merged
weights load into the plain class of transformers and say the same to 1e-5. A **number** is a combination that is refused with
a sentence, which is tested too; its reason stands below."""
Cell = Gap | str | None


class Footnotes:
    """Numbers of reasons, in the order in which they come."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def mark(self, cell: Cell) -> str:
        """`yes` for None, the number of a reason, or nothing for ``""``."""
        if cell is None or cell == "":
            return "yes" if cell is None else ""
        reason = cell.because if isinstance(cell, Gap) else cell
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"[{self.reasons.index(reason) + 1}]"

    def table(self, first: str, rows: Sequence[str], columns: Sequence[str], cell: Callable[[str, str], Cell]) -> str:
        """A table in Markdown of what there is to say of each row and column."""
        body = [[SETTINGS.get(row, row), *(self.mark(cell(row, column)) for column in columns)] for row in rows]
        return tabulate(body, headers=[first, *columns], tablefmt="github", disable_numparse=True)

    def text(self) -> str:
        return "\n".join(f"{number}. {reason}" for number, reason in enumerate(self.reasons, 1))


def of_task(architecture: str) -> Callable[[str, str], Cell]:
    """What there is to say of a method and a task on an architecture."""

    def cell(method: str, task: str) -> Cell:
        if gap := tasks.UNTUNABLE.get((task, architecture, method)):
            return gap
        return GAPS.get((method, architecture))

    return cell


def page() -> str:
    """The whole page."""
    notes, parts = Footnotes(), [INTRODUCTION]
    mergeable = [SETTINGS.get(name, name) for name, method in METHODS.items() if not method.merges]
    architectures = notes.table("method", list(METHODS), ARCHITECTURES, lambda method, name: GAPS.get((method, name)))
    parts += ["## Method and architecture (text classification)", architectures]
    parts += [
        "Not merged, because the method does not update the backbone's weights, or the weights have 4 bits: "
        f"{', '.join(mergeable)}."
    ]
    given = notes.table("task", list(tasks.CASES), tasks.ARCHITECTURES, lambda task, name: tasks.GAPS.get((task, name)))
    parts += ["## Task and architecture", given]
    for architecture in tasks.EVERY_METHOD:
        fitting = [task for task in tasks.CASES if (task, architecture) not in tasks.GAPS]
        table = notes.table("method", list(METHODS), fitting, of_task(architecture))
        parts += [f"## Method and task, on {architecture}", table]
    parts += [
        f"On the other architectures every task that they have runs with {', '.join(tasks.FEW)}. Methods with prompts take one "
        "text a row: no `data.packing`, and raw text with `data.isolate_documents: false`. The files of bert hold no head of a "
        "masked language model here; where they do, Frozen and HeadFirst(then=LoRA) find nothing to train at first, as in "
        "CausalLM."
    ]
    on_bert = [method for method in METHODS if (method, "bert") not in GAPS]
    strategies = [*PRECISIONS, "ddp, 2 processes (gloo)"]
    precise = notes.table("method", on_bert, strategies, lambda method, name: PRECISION_GAPS.get((method, name)))
    parts += ["## Precision and strategy (text classification, bert, processors)", precise]
    parts += [
        "With two processes the weights of both are the same bit for bit after twelve steps, and those of one process to 2e-5. "
        "Nothing of this page was run on a GPU."
    ]
    return "\n\n".join([*parts, "## Reasons", notes.text()]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

"""Options and classes that were renamed, so that the error for an old config names the new key."""

RENAMED = {
    "before": "evaluate_untrained",
    "tripwires": "training_checks",
    "model.warmup": "model.warmup_ratio",
    "Both": "Combined",
    "AdaLoRA.initial_r": "AdaLoRA.init_r",
    "AdaLoRA.every": "AdaLoRA.deltaT",
    "AdaLoRA.begin_share": "AdaLoRA.tinit",
    "AdaLoRA.end_share": "AdaLoRA.tfinal",
    "BottleneckAdapter.places": "BottleneckAdapter.locations",
    "data.pack": "data.packing",
    "data.documents": "data.document_unit",
    "data.boundaries": "data.isolate_documents",
}
CLASS_SECTIONS = {"TaskModule": "model", "TaskData": "data"}


def renamed(key: str) -> str | None:
    """A sentence with the new name of a class or of an option of the command; None if it was not renamed."""
    return f"{key} is now called {RENAMED[key]}" if key in RENAMED else None


def renamed_option(kind: type, option: str) -> str | None:
    """A sentence with the new name of an option of a class or its parents; None if it was not renamed."""
    owners = (CLASS_SECTIONS.get(parent.__name__, parent.__name__) for parent in kind.__mro__)
    return next((found for owner in owners if (found := renamed(f"{owner}.{option}"))), None)

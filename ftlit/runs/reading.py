"""What a run folder says."""

from typing import Any

from tabulate import tabulate


def results_text(results: dict[str, Any], style: str = "simple") -> str:
    """Metrics as a table in a style of tabulate, the untrained model beside the trained one."""
    columns = {}
    for split in ("validation", "test"):
        if split in results.get("before", {}):
            columns[f"{split} (untrained)"] = results["before"][split]
        if split in results:
            columns[split] = results[split]
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    rows = [[name, *(values.get(name) for values in columns.values())] for name in names]
    return tabulate(rows, headers=["metric", *columns], floatfmt=".4f", tablefmt=style)

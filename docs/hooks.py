"""Brings the committed results and the table of options into the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from ftlit.util.options import OPTIONS

ROOT = Path(__file__).parents[1]
RESULTS = "experiments/results"
KINDS = (".md", ".png", ".svg", ".html", ".csv", ".tex")
EFFECTS = ("rows", "encoding", "order", "training", "evaluation")


def on_files(files: Files, config: Any) -> Files:
    """Add the results, under the path that they have in the repository."""
    for path in sorted((ROOT / RESULTS).rglob("*")):
        if path.suffix in KINDS:
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Links that leave `docs/` for the results stay inside the site."""
    return markdown.replace(f"../{RESULTS}/", f"{RESULTS}/").replace("<!-- options -->", options_table())


def options_table() -> str:
    """What each option affects, in Markdown."""
    rows = [(key, ", ".join(e for e in EFFECTS if e in option.affects) or "nothing") for key, option in OPTIONS.items()]
    return "\n".join(["| option | affects |", "|---|---|", *(f"| `{key}` | {effects} |" for key, effects in rows)])

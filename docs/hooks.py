"""Brings the committed results into the site, so that pages link to them as they do in the repository."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
RESULTS = "experiments/results"
KINDS = (".md", ".png", ".html", ".csv", ".tex")


def on_files(files: Files, config: Any) -> Files:
    """Add the results, under the path that they have in the repository."""
    for path in sorted((ROOT / RESULTS).rglob("*")):
        if path.suffix in KINDS:
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Links that leave `docs/` for the results stay inside the site."""
    return markdown.replace(f"../{RESULTS}/", f"{RESULTS}/")

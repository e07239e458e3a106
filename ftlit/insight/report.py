"""Write a report about a run: a page, a summary in Markdown, and its numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftlit.exports.target import check_target, made_whole
from ftlit.runs.files import INSIGHT
from ftlit.util.files import write_json, write_text
from ftlit.util.render.document import Document


@contextmanager
def report_folder(run: Path, name: str, output: str | None, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder for the files of a report, which takes its place at the end. After an error nothing is left.

    Args:
        run: Folder of the run.
        name: Name of the report, such as ``drift``.
        output: Where the report belongs; by default ``insight/<name>`` in the folder of the run.
        overwrite: Whether an earlier report of this name may be replaced.

    Raises:
        UserError: The place holds something else, or an earlier report that should stay, or it cannot be written.
    """
    target = Path(output).expanduser() if output else run / INSIGHT / name
    check_target(target, overwrite, lambda folder: (folder / f"{name}.html").is_file(), f"report of {name}")
    with made_whole(target) as work:
        (folder := work / "folder").mkdir()
        yield folder
    print(f"\nwrote {target}: {name}.html")


def write_report(folder: Path, name: str, document: Document, numbers: dict[str, Any]) -> None:
    """Write a report as ``<name>.html`` and ``<name>.md``, and its numbers as ``<name>.json``."""
    from ftlit.util.render.markdown import markdown
    from ftlit.util.render.page import page

    write_text(folder / f"{name}.html", page(document))
    write_text(folder / f"{name}.md", markdown(document))
    write_json(folder / f"{name}.json", numbers)

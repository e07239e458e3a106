"""The report of a study: a page, its essentials as text, the numbers, and a table for a paper."""

from pathlib import Path

from ftlit.files import write_text
from ftlit.study.cells import Plan
from ftlit.study.folder import Folder


def write_report(plan: Plan, folder: Folder) -> list[Path]:
    """Write the report of what has finished.

    Args:
        plan: The study.
        folder: Its folder.

    Returns:
        The files written, in ``report/`` of the folder.

    Raises:
        UserError: A file of the folder is broken.
    """
    from ftlit.study.report.artifact import send
    from ftlit.study.report.design import statistics
    from ftlit.study.report.latex import latex
    from ftlit.study.report.markdown import markdown
    from ftlit.study.report.numbers import gather
    from ftlit.study.report.page import page
    from ftlit.study.report.table import efficiency_csv, results_csv
    from ftlit.study.report.whole import whole

    numbers = gather(plan, folder)
    document = whole(numbers)
    texts = {
        "report.html": page(document),
        "report.md": markdown(document),
        "results.csv": results_csv(numbers),
        "efficiency.csv": efficiency_csv(numbers),
        "table.tex": latex(document, statistics(numbers)),
    }
    for name, text in texts.items():
        write_text(folder.path / "report" / name, text)
    files = [folder.path / "report" / name for name in texts]
    send(plan, files)
    return files

"""The report of a study: an HTML page, a Markdown summary, the numbers as CSV, and a LaTeX table."""

from pathlib import Path

from ftlit.study.plan.cells import Plan
from ftlit.study.state.folder import Folder
from ftlit.util.files import write_text


def write_study_report(plan: Plan, folder: Folder) -> list[Path]:
    """Write the report of all finished cells.

    Args:
        plan: The study.
        folder: The folder of the study.

    Returns:
        The files written, in ``report/`` of the folder.

    Raises:
        UserError: A file in the folder is broken.
    """
    from ftlit.study.report.content.assemble import assemble_report
    from ftlit.study.report.content.design import statistics
    from ftlit.study.report.content.numbers import gather
    from ftlit.study.report.render.artifact import send
    from ftlit.study.report.render.latex import latex
    from ftlit.study.report.render.table import efficiency_csv, results_csv
    from ftlit.util.render.markdown import markdown
    from ftlit.util.render.page import page

    numbers = gather(plan, folder)
    document = assemble_report(numbers)
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

"""Assemble the report from its sections."""

from ftlit.study.report.content.answer import answer
from ftlit.study.report.content.breakdown import breakdown, disagreements
from ftlit.study.report.content.design import design
from ftlit.study.report.content.numbers import Numbers
from ftlit.study.report.content.provenance import failures, provenance
from ftlit.study.report.content.results import comparison, costs, main_tables, training_curves
from ftlit.study.sequential.texts import seed_count
from ftlit.util.render.document import Document
from ftlit.util.render.formats import plural

SECTIONS = (answer, design, comparison, costs, training_curves, breakdown, disagreements, failures, provenance)
FILES = {
    "report.html": "the full report with plots, all pairs, breakdowns and every run",
    "results.csv": "all metrics of every finished run",
    "efficiency.csv": "time, memory, machine and dates of these runs",
    "table.tex": "the main table in LaTeX",
}


def assemble_report(numbers: Numbers) -> Document:
    """The report with all sections that are not empty."""
    study = numbers.study
    lead = (
        f"A study of {plural(len(numbers.plan.arms), 'arm')} with {seed_count(study)} each: "
        f"{len(numbers.repetitions):,} of {numbers.all_planned:,} repetitions have finished."
    )
    found = [section for make in SECTIONS if (section := make(numbers)).parts]
    return Document(study.name, lead, found, main_tables(numbers), FILES)

"""The formats of a report: HTML, Markdown, LaTeX, CSV and plots."""

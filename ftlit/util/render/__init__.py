"""Documents with paragraphs, tables and plots, as HTML and Markdown."""

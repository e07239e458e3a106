"""The plots of a report, its tables in LaTeX and CSV, and Weights & Biases."""

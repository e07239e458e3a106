"""Metrics in double precision, which are 0 or NaN where they are undefined, as in scikit-learn and SciPy."""

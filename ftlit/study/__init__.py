"""Studies: vary keys of an experiment over seeds, run all combinations, and report which differences are significant."""

"""Studies: a file that varies keys of an experiment over seeds, run to its end, and told as it is."""

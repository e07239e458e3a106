"""Where a run fails: slices with more errors than the rest, confusions, and labels that are probably wrong."""

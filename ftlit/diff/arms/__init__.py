"""Arms: runs that were made by hand, or predictions of any tool, with the statistics of studies."""

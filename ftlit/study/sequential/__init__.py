"""Seeds that are added where verdicts are open: the levels of looks, which arms go on, and how it is told."""

"""Hidden states of the trunk, the frozen lowest layers of a backbone, computed once and read again in each epoch and run."""

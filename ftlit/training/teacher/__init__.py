"""The outputs of a teacher, computed once and read again in each epoch and run."""

"""What a run will take: a rehearsal of a few batches."""

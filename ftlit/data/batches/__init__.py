"""Turn encoded examples into batches: batching, packing, padding and loading."""

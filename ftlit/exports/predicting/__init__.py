"""Rows through a model: windows of rows, the next one encoded meanwhile, batches by tokens, predictions in order."""

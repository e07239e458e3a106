"""Queues of the models: requests wait in them, and a thread for each takes some rows of many together."""

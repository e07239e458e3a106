"""The model card of an exported folder: metadata for the hub, data, results, limits, and how to run it."""

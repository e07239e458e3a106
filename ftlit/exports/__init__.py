"""Exported folders, adapters and predictions of finished runs."""

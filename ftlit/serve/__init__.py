"""Serve finished runs over HTTP: `python -m ftlit serve`."""

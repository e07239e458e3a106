"""The commands fit, validate and test, and the function `ftlit.fit`."""

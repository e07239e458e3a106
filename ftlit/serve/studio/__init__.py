"""The studio of a server: all runs and studies below a folder, which it only reads."""

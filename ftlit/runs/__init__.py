"""The run folder: what is in it, who may write there, and how it is read."""

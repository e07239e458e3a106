"""The run folder: its files, who may write there, and how it is read."""

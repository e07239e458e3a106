"""What every other package may use: files, settings, names of batch keys, start-up."""

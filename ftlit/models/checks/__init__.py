"""Check what a backbone's folder contains: its files, weights, vocabulary and positions."""

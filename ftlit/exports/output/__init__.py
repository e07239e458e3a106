"""Files of predictions: their formats, and what a killed command leaves of one."""

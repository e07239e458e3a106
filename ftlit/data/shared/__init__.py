"""What the data modules share."""

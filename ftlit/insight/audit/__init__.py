"""What a run does with groups of people, with swapped words and with small changes of a text."""

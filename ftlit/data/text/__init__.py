"""Turn texts into tokens: encoding, words and tags, answers."""

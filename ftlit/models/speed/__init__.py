"""Parts of models computed faster, with the results they have in transformers."""

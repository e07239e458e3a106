"""What a batch holds beside the model's inputs: where data modules and tasks meet."""

# Keys that are not inputs of the model.
BOOKKEEPING = {"labels", "ids", "normalizer", "tokens"}
# The normalizer of a batch that only keeps a rank in step with the others: its loss is divided to zero.
FILLER = float("inf")

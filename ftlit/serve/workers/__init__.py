"""Several processes that answer at one address, with the weights of their models in memory once."""

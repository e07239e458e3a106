"""Arguments of classes and options of commands: which numbers they accept, and the check of them."""

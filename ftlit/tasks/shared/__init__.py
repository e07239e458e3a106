"""The base class of all tasks, and code that several tasks share."""

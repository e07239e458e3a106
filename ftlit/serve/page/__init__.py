"""The page of a server, on which its models can be tried in a browser."""

"""New texts for an audit: words swapped by lexicons, templates filled, and small changes that should matter or not."""

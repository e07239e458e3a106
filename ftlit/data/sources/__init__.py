"""Where rows come from: files, folders, functions, packages, the Hugging Face hub."""

"""Pages of docs/ that are tables of what the definitions say."""

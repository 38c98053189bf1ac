"""A classifier on frozen features, fitted at once."""

"""Shared by the dataset loaders: readers of official file formats, and the checks of the final index."""

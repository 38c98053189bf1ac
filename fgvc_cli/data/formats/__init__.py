"""What the readers of datasets share: official file formats, and the index that they end in."""

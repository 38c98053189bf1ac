"""Images on disk → batches."""

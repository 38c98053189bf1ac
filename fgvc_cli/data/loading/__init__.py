"""Turns images into batches."""

"""Datasets: from images on disk to batches."""

"""Plots of a whole run: training curves and feature embeddings."""

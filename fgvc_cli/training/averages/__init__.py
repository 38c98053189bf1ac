"""Averages of weights: over the steps of a run, and over several runs."""

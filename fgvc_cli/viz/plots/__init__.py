"""Plots of a run as a whole: how it learned, what it takes for what, how its features lie."""

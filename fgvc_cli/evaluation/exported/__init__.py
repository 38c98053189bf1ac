"""Evaluation of an exported file: the same measures from its probabilities, without PyTorch."""

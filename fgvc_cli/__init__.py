"""fgvc trains, evaluates, explains and ships fine-grained image classifiers."""

__version__ = "0.1.0"

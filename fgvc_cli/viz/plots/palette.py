"""Colours for lines and points, safe for colour-blind readers."""

from __future__ import annotations

# Okabe and Ito, Color Universal Design, https://jfly.uni-koeln.de/color/, without black and the too pale yellow.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6b4c9a")
GREY = "#c8c8c8"

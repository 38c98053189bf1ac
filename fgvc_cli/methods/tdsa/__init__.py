"""TDSA-Loss and MC-Loss: the methods, and the levels that they act on."""

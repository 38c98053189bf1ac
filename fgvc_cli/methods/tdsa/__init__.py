"""TDSA-Loss and MC-Loss: the methods, and the levels (maps) that their losses use."""

"""How fast things are on this machine: ways of doing the same, side by side, in interleaved rounds."""

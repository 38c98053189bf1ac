"""The server's face: its addresses and pages, who may ask, and how it listens."""

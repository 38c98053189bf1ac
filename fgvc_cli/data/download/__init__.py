"""Datasets from the network or from archives at hand: fetched, checked, unpacked, verified, then put in place."""

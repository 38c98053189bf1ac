"""Datasets from the network or from local archives: downloaded, checked, unpacked, verified, then moved into place."""

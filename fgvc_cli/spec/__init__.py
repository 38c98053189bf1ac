"""The specification of a run: frozen and validated, without importing PyTorch."""

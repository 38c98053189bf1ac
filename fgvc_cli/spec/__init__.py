"""What a run is asked to do: frozen, validated, free of PyTorch."""

"""A run on disk: its folder, checkpoints, journal and environment."""

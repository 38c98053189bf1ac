"""What the computer is and does; it knows nothing of methods."""

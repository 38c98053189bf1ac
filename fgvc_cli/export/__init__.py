"""A run's model as one file for other programs and machines, compared with the run before it gets its name."""

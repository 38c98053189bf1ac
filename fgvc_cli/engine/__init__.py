"""Training, evaluation and the run folder; knows no method by name."""

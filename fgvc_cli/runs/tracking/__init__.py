"""A run in an experiment tracker, beside TensorBoard: in a process of its own, which can cost the run nothing."""

"""What `Run` and `Model` do, and the commands that are given a run."""

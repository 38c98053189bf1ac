"""One optimizer step, one epoch, one run."""

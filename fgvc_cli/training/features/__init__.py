"""Training on features that are computed once: fitted at once, or by epochs; classes enrolled without training."""

"""Functions of vectors: neighbours, class means, logistic regression."""

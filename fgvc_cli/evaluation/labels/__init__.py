"""Which labels of a dataset are likely wrong."""

"""A trained model opened and shown images."""

"""A trained model is loaded and run on images."""

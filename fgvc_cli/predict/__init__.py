"""What a trained model answers to any images, and how the answers are written."""

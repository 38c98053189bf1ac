"""What a trained model predicts for any images, and how the predictions are written."""

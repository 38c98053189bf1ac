"""Models: what all can, and by what computes them: PyTorch, or onnxruntime."""

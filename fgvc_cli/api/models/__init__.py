"""Models by what computes them: PyTorch, or onnxruntime."""
